{%- match sockets.scheme() %}
{%- when Some(scheme) %}
	set {{ message }}.http.X-Forwarded-Proto = {{ scheme }};
{%- when None %}
	if ({{ sockets.is_https() }}) {
		set {{ message }}.http.X-Forwarded-Proto = "https";
	} else {
		set {{ message }}.http.X-Forwarded-Proto = "http";
	}
{%- endmatch %}
