
{%- let message = "resp" %}
{%- for response in responses %}

sub {{ response.sub }} {
{%- if let Some(cors) = response.cors %}
{%- include "cors.vcl" %}
{%- endif %}
{%- let changes = response.changes %}
{%- include "changes.vcl" %}
}
{%- endfor %}

sub respond {
	# When draining, the reloader sets the parameter timeout_idle to 1.
	if (sess.timeout_idle < 2s) {
		set resp.http.Connection = "close";
	}
{%- for response in responses %}
	if (var.get("response") == {{ response.id }}) {
		call {{ response.sub }};
	}
{%- endfor %}
}

sub vcl_deliver {
{%- if self.has_plain_rules() && user.is_none() %}
	if ({{ self.is_plain() }} && sess.timeout_idle >= 2s) {
		return (deliver);
	}
{%- endif %}
	call respond;
{%- if hooks.deliver %}
	call copal_deliver;
{%- endif %}
	return (deliver);
}

sub vcl_synth {
	if (var.get("location")) {
		set resp.http.Location = var.get("location");
	}
}

{% include "synth.vcl" %}
