
	# What the backend says about CORS does not count.
	unset resp.http.Access-Control-Allow-Origin;
	unset resp.http.Access-Control-Allow-Credentials;
	unset resp.http.Access-Control-Allow-Methods;
	unset resp.http.Access-Control-Allow-Headers;
	unset resp.http.Access-Control-Expose-Headers;
	unset resp.http.Access-Control-Max-Age;
	if (req.http.Origin{% if let Some(origin) = cors.origin %} && req.http.Origin ~ {{ origin }}{% endif %}) {
{%- if cors.echo_origin %}
		set resp.http.Access-Control-Allow-Origin = req.http.Origin;
{%- else %}
		set resp.http.Access-Control-Allow-Origin = "*";
{%- endif %}
{%- if cors.credentials %}
		set resp.http.Access-Control-Allow-Credentials = "true";
{%- endif %}
{%- if let Some(expose) = cors.expose %}
		set resp.http.Access-Control-Expose-Headers = {{ expose }};
{%- endif %}
		if (req.method == "OPTIONS" && req.http.Access-Control-Request-Method) {
{%- if let Some(methods) = cors.methods %}
			set resp.http.Access-Control-Allow-Methods = {{ methods }};
{%- else if cors.echo_methods %}
			set resp.http.Access-Control-Allow-Methods = req.http.Access-Control-Request-Method;
{%- endif %}
{%- if let Some(headers) = cors.headers %}
			set resp.http.Access-Control-Allow-Headers = {{ headers }};
{%- else if cors.echo_headers %}
			if (req.http.Access-Control-Request-Headers) {
				set resp.http.Access-Control-Allow-Headers = req.http.Access-Control-Request-Headers;
			}
{%- endif %}
			set resp.http.Access-Control-Max-Age = {{ cors.max_age }};
		}
	}
{%- if cors.echo_origin %}
	std.collect(resp.http.Vary, ",");
	if (resp.http.Vary) {
		set resp.http.Vary = resp.http.Vary + ",Origin";
	} else {
		set resp.http.Vary = "Origin";
	}
{%- endif %}
