

# What rules do. Each ends the request's way through vcl_recv.
{%- for rule in rules %}
{%- for branch in rule.branches %}
{%- if let Some(sub) = branch.sub %}

sub {{ sub }} {
{%- include "branch.vcl" %}
}
{%- endif %}
{%- endfor %}

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
{%- match (branch.sub.as_ref(), branch.draw) %}
{%- when (Some(sub), Some((below, of))) %}
	if (std.random(0, {{ of }}) < {{ below }}) {
		call {{ sub }};
	}
{%- when (Some(sub), None) %}
	call {{ sub }};
{%- when (None, _) %}
{%- include "branch.vcl" %}
{%- endmatch %}
{%- endfor %}
}
{%- endfor %}

# What is looked up in the cache, and what is not.
sub forward {
{%- if hooks.after_routing %}
{%- if self.has_plain_rules() %}
	call choose_backend;
{%- endif %}
	call copal_after_routing;
{%- endif %}
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
{%- if self.has_plain_rules() %}

# A rule that only forwards; its name is for the access log.
sub forward_plain {
	std.log(names.element(n=requests.integer(select=LONGEST)));
	call forward;
}
{%- endif %}
{%- if self.has_gaps() %}

sub not_found {
	return (synth(404));
}
{%- endif %}
