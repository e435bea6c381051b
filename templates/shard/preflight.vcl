{%- if let Some(program) = preflight %}
	# A CORS preflight is answered here.
	if (req.method == "OPTIONS" && req.http.Origin && req.http.Access-Control-Request-Method) {
		var.set("response", {{ program }});
		return (synth(204));
	}
{%- endif %}
