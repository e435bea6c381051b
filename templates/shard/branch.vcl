
{%- if logs %}
	std.log({{ branch.name }});
{%- endif %}
{%- let message = "req" %}
{%- let changes = branch.request %}
{%- include "changes.vcl" %}
{%- let preflight = branch.preflight %}
{%- include "preflight.vcl" %}
{%- if let Some(response) = branch.response %}
	var.set("response", {{ response }});
{%- endif %}
{%- match branch.outcome %}
{%- when OutcomeVcl::Synth { status, comment } %}
	# {{ comment }}
	return (synth({{ status }}));
{%- when OutcomeVcl::Redirect { status, location } %}
	var.set("location", {{ location }});
	return (synth({{ status }}));
{%- when OutcomeVcl::Forward(forward) %}
{%- if let Some(host) = forward.host %}
	var.set("key", {{ forward.key }} + " " + req.http.Host);
	set req.http.X-Forwarded-Host = req.http.Host;
	set req.http.Host = {{ host }};
{%- else %}
	var.set("key", {{ forward.key }});
{%- endif %}
{%- if let Some(url) = forward.url %}
	set req.url = {{ url }};
{%- endif %}
	set req.backend_hint = {{ forward.backend }};
{%- if forward.websocket %}
	if (req.method == "GET" && req.http.Upgrade ~ "(?i)^websocket$") {
{%- if hooks.after_routing %}
		call copal_after_routing;
{%- endif %}
		return (pipe);
	}
{%- endif %}
	call {{ forward.sub }};
{%- endmatch %}
