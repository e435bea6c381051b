{%- if let Some(it) = preflight %}
	# A CORS preflight is answered here.
	if (req.method == "OPTIONS" && req.http.Origin && req.http.Access-Control-Request-Method) {
{%- if logs %}
{%- if let Some(name) = it.name %}
		std.log({{ name }});
{%- endif %}
{%- endif %}
		var.set("response", {{ it.program }});
		return (synth(204));
	}
{%- endif %}
