# Copal: the root. It finds the host of a request and hands over to the VCL that serves it.
# Everything else is in the labelled VCLs; what is changed in a request here is undone at the hand-over.
vcl 4.1;

import selector;
import std;
import var;

backend default none;

sub vcl_init {
{%- for port in ports %}
{%- if !port.table.exact.is_empty() %}
	new {{ port.table.exact_set }} = selector.set();
{%- endif %}
{%- if !port.table.wild.is_empty() %}
	new {{ port.table.wild_set }} = selector.set();
{%- endif %}
{%- endfor %}
}
{% for label in labels %}
sub to_{{ label }} {
	return (vcl({{ label }}));
}
{% endfor %}
{%- for port in ports %}
{%- let table = port.table %}
{% include "hosts.vcl" %}
{% endfor %}
sub vcl_recv {
{%- for port in ports %}
{%- match port.socket %}
{%- when Some(socket) %}
	if (local.socket == {{ socket }}) {
		call {{ port.table.sub }};
	}
{%- when None %}
	call {{ port.table.sub }};
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

sub vcl_init {
{%- for port in ports %}
{%- let table = port.table %}
{% include "hosts_init.vcl" %}
{%- endfor %}
}

