
# What rules do. Each ends the request's way through vcl_recv.
{%- for rule in rules %}

# {{ rule.comment }}
sub {{ rule.sub }} {
{%- if let Some(fetch) = rule.fetch %}
	set req.http.X-Copal-Fetch = {{ fetch }};
{%- endif %}
{%- let message = "req" %}
{%- let changes = rule.request %}
{%- include "changes.vcl" %}
{%- let preflight = rule.preflight %}
{%- include "preflight.vcl" %}
{%- for branch in rule.branches %}
{%- if let Some((below, of)) = branch.draw %}
	if (std.random(0, {{ of }}) < {{ below }}) {
{%- endif %}
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
	set req.backend_hint = {{ forward.director }}.backend();
{%- if forward.websocket %}
	if (req.method == "GET" && req.http.Upgrade ~ "(?i)^websocket$") {
		return (pipe);
	}
{%- endif %}
	call forward;
{%- endmatch %}
{%- if branch.draw.is_some() %}
	}
{%- endif %}
{%- endfor %}
}
{%- endfor %}

# What is looked up in the cache, and what is not.
sub forward {
	if (req.method != "GET" && req.method != "HEAD") {
		if (req.method == "CONNECT" || req.method == "PRI") {
			return (synth(405));
		}
		return (pass);
	}
	if (req.http.Authorization || req.http.Cookie) {
		return (pass);
	}
	return (hash);
}
