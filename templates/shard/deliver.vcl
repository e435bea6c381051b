
sub vcl_deliver {
	call respond;
}

{% include "synth.vcl" %}
sub respond {
	# When draining, the reloader sets the parameter timeout_idle to 1.
	if (sess.timeout_idle < 2s) {
		set resp.http.Connection = "close";
	}
	if (var.get("location")) {
		set resp.http.Location = var.get("location");
	}
{%- let message = "resp" %}
{%- for response in responses %}
	{% if !loop.first %}else {% endif %}if (var.get("response") == {{ response.id }}) {
{%- if let Some(cors) = response.cors %}
{%- include "cors.vcl" %}
{%- endif %}
{%- let changes = response.changes %}
{%- include "changes.vcl" %}
	}
{%- endfor %}
}

