

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
	call copal_after_routing;
{%- endif %}
{%- include "forward.vcl" %}
}
{%- if self.copies() %}

# A request that is copied gets to its backend, each time.
sub forward_copied {
{%- if hooks.after_routing %}
	call copal_after_routing;
{%- endif %}
{%- include "pass.vcl" %}
}
{%- endif %}
{%- if self.has_plain_rules() %}

# A rule that does no more: what is to be known of it is read from its entry in the look-up table when it is needed. That
{%- if user.is_some() %}
# there is one, a variable says.
sub forward_only {
	var.set("plain", "yes");
{%- else %}
# there is one, an empty client.identity says, which costs less to set and to compare than anything else.
sub forward_only {
	set client.identity = "";
{%- endif %}
{%- if logs %}
	std.log(names.element(n=requests.integer(select=LONGEST)));
{%- endif %}
{%- if hooks.after_routing %}
	set req.backend_hint = requests.backend(select=LONGEST);
	call copal_after_routing;
{%- endif %}
{%- include "forward.vcl" %}
}
{%- endif %}
{%- if self.has_gaps() %}

sub not_found {
	return (synth(404));
}
{%- endif %}
