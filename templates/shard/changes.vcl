{%- for change in changes %}
{%- match change %}
{%- when ChangeVcl::Set(name, value) %}
	set {{ message }}.http.{{ name }} = {{ value }};
{%- when ChangeVcl::Add(name, value) %}
	std.collect({{ message }}.http.{{ name }}, ",");
	if ({{ message }}.http.{{ name }}) {
		set {{ message }}.http.{{ name }} = {{ message }}.http.{{ name }} + "," + {{ value }};
	} else {
		set {{ message }}.http.{{ name }} = {{ value }};
	}
{%- when ChangeVcl::AddLine(name, value) %}
	header.append({{ message }}.http.{{ name }}, {{ value }});
{%- when ChangeVcl::Remove(name) %}
	unset {{ message }}.http.{{ name }};
{%- endmatch %}
{%- endfor %}
