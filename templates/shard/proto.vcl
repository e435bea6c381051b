{%- match sockets.scheme() %}
{%- when Some(scheme) %}
	set {{ message }}.http.X-Forwarded-Proto = {{ scheme }};
{%- when None %}
	if ({{ Sockets::relayed() }}) {
		set {{ message }}.http.X-Forwarded-Proto = "https";
	} else {
		set {{ message }}.http.X-Forwarded-Proto = "http";
	}
{%- endmatch %}
