
	# What the backend says about CORS does not count.
	unset resp.http.Access-Control-Allow-Origin;
	unset resp.http.Access-Control-Allow-Credentials;
	unset resp.http.Access-Control-Allow-Methods;
	unset resp.http.Access-Control-Allow-Headers;
	unset resp.http.Access-Control-Expose-Headers;
	unset resp.http.Access-Control-Max-Age;
	if (req.http.Origin{% if let Some(origin) = cors.origin %} && req.http.Origin ~ {{ origin }}{% endif %}) {
{%- match cors.allow_origin %}
{%- when AllowVcl::Echo %}
		set resp.http.Access-Control-Allow-Origin = req.http.Origin;
{%- when AllowVcl::Value(value) %}
		set resp.http.Access-Control-Allow-Origin = {{ value }};
{%- endmatch %}
{%- if cors.credentials %}
		set resp.http.Access-Control-Allow-Credentials = "true";
{%- endif %}
{%- if let Some(expose) = cors.expose %}
		set resp.http.Access-Control-Expose-Headers = {{ expose }};
{%- endif %}
		if (req.method == "OPTIONS" && req.http.Access-Control-Request-Method) {
{%- match cors.methods %}
{%- when Some(AllowVcl::Value(methods)) %}
			set resp.http.Access-Control-Allow-Methods = {{ methods }};
{%- when Some(AllowVcl::Echo) %}
			set resp.http.Access-Control-Allow-Methods = req.http.Access-Control-Request-Method;
{%- when None %}
{%- endmatch %}
{%- match cors.headers %}
{%- when Some(AllowVcl::Value(headers)) %}
			set resp.http.Access-Control-Allow-Headers = {{ headers }};
{%- when Some(AllowVcl::Echo) %}
			if (req.http.Access-Control-Request-Headers) {
				set resp.http.Access-Control-Allow-Headers = req.http.Access-Control-Request-Headers;
			}
{%- when None %}
{%- endmatch %}
			set resp.http.Access-Control-Max-Age = {{ cors.max_age }};
		}
	}
{%- if cors.varies() %}
	std.collect(resp.http.Vary, ",");
	if (resp.http.Vary) {
		set resp.http.Vary = resp.http.Vary + ",Origin";
	} else {
		set resp.http.Vary = "Origin";
	}
{%- endif %}
