# Copal: the root. It finds the host of a request and hands over to the VCL that serves it.
# Everything else is in the labelled VCLs; what is changed in a request here is undone at the hand-over.
vcl 4.1;

{% if !checks.is_empty() -%}
import proxy;
{% endif -%}
import selector;
import std;
{%- if !checks.is_empty() %}
import var;
{%- endif %}

backend default none;
{%- if !ports.is_empty() || !checks.is_empty() %}

sub vcl_init {
{%- for port in ports %}
{%- if !port.table.exact.is_empty() %}
	new {{ port.table.exact_set }} = selector.set();
{%- endif %}
{%- if !port.table.wild.is_empty() %}
	new {{ port.table.wild_set }} = selector.set();
{%- endif %}
{%- endfor %}
{%- for check in checks %}
{%- if !check.exact.is_empty() %}
	new {{ check.exact_set }} = selector.set();
{%- for host in check.exact %}
	{{ check.exact_set }}.add({{ host }});
{%- endfor %}
{%- endif %}
{%- if !check.wild.is_empty() %}
	new {{ check.wild_set }} = selector.set();
{%- for domain in check.wild %}
	{{ check.wild_set }}.add({{ domain }});
{%- endfor %}
{%- endif %}
{%- endfor %}
}
{%- endif %}
{% for label in labels %}
sub to_{{ label }} {
	return (vcl({{ label }}));
}
{% endfor %}
{%- for port in ports %}
{%- let table = port.table %}
{%- let host = "req.http.Host" %}
# Hosts under a wildcard are listed, so that the wildcard does not serve them.
sub {{ table.sub }} {
{%- include "hosts.vcl" %}
}
{% endfor %}
{%- for check in checks %}
{%- include "misdirected.vcl" %}
{% endfor %}
sub vcl_recv {
	if (req.http.Host ~ "[^a-z0-9.-]|\.$") {
		# In lower case, without port and trailing dot.
		set req.http.Host = std.tolower(regsub(req.http.Host, "\.?(:[0-9]*)?$", ""));
		# Shards rely on it that nothing else is in a host's name (RFC 9112 section 3.2, RFC 3986 section 3.2.2).
		if (req.http.Host !~ "^([a-z0-9._~!$&'()*+,;=%-]*|\[[0-9a-z:.]+\])$") {
			return (synth(400));
		}
	}
{%- if !checks.is_empty() %}
	# Only what the client itself asks for can be misdirected.
	if ({% if let Some(relayed) = relayed %}{{ relayed }} && {% endif %}proxy.authority() != req.http.Host && req.esi_level == 0 && req.restarts == 0) {
{%- for check in checks %}
{%- match check.condition %}
{%- when Some(condition) %}
		if ({{ condition }}) {
			call {{ check.sub }};
		}
{%- when None %}
		call {{ check.sub }};
{%- endmatch %}
{%- endfor %}
	}
{%- endif %}
{%- for port in ports %}
{%- match port.condition %}
{%- when Some(condition) %}
	if ({{ condition }}) {
		call {{ port.table.sub }};
	}
{%- when None %}
	call {{ port.table.sub }};
{%- endmatch %}
{%- endfor %}
{%- if steps.len() > 1 %}
	# Other hosts are found by their place in the order of names. It is cheaper to read there than among the headers.
	set client.identity = req.http.Host;
{%- endif %}
{%- for step in steps %}
{%- match step %}
{%- when Step::If(tabs, limit) %}
{{ tabs }}if (client.identity < {{ limit }}) {
{%- when Step::Else(tabs) %}
{{ tabs }}} else {
{%- when Step::To(tabs, label) %}
{{ tabs }}return (vcl({{ label }}));
{%- when Step::End(tabs) %}
{{ tabs }}}
{%- endmatch %}
{%- endfor %}
	return (synth(404));
}

{% include "synth.vcl" %}

sub respond {
	# When draining, the reloader sets the parameter timeout_idle to 1.
	if (sess.timeout_idle < 2s) {
		set resp.http.Connection = "close";
	}
}
{%- if !ports.is_empty() %}

sub vcl_init {
{%- for port in ports %}
{%- let table = port.table %}
{%- include "hosts_init.vcl" %}
{%- endfor %}
}
{%- endif %}

