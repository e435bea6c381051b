
sub {{ group.called }} {
{%- for entry in group.tries %}
{%- if let Some(condition) = entry.condition %}
	if ({{ condition }}) {
		call {{ entry.rule }};
	}
{%- else %}
	call {{ entry.rule }};
{%- endif %}
{%- endfor %}
{%- if let Some(next) = group.next %}
	call {{ next }};
{%- endif %}
}
