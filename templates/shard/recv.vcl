

# Which host a request is for.
{%- for port in ports %}
{%- let table = port.table %}
{%- let host = "var.get(\"host\")" %}

sub {{ table.sub }} {
{%- include "hosts.vcl" %}
}
{%- endfor %}

sub vcl_recv {
{%- if !fetches.is_empty() %}
	unset req.http.X-Copal-Fetch;
{%- endif %}
{%- if self.changes_proto() %}
	# What clients say of it does not count; a rule changes it, so it is here from the beginning.
{%- let message = "req" %}
{%- include "proto.vcl" %}
{%- endif %}
{%- if hooks.before_routing %}
	call copal_before_routing;
{%- endif %}
{%- if !requests.is_empty() %}
	# Host and path in one look-up, as they were sent, which is most often the form to compare. A host has no space, so
	# the URL begins where it seems to.
	if ({{ sockets.finds("req.http.Host") }}) {
		call requests.subroutine(select=LONGEST);
		return (synth(404));
	}
{%- endif %}
	call look_up;
	return (synth(404));
}

# What is slow is not in vcl_recv: a subroutine prepares the modules that it names, whether it gets to them or not.
sub look_up {
{%- if !requests.is_empty() %}
	if (req.url !~ "^/") {
		return (synth(404));
	}
{%- endif %}
	# In lower case, as in Varnish's built-in VCL: one host, one object in the cache.
	if (req.http.Host ~ "[[:upper:]]") {
		set req.http.Host = std.tolower(req.http.Host);
	}
{%- if self.compares_hosts() %}
	# Without port and trailing dot. The backend gets them: they are part of the cache key.
	var.set("host", regsub(req.http.Host, "\.?(:[0-9]*)?$", ""));
{%- endif %}
{%- if !requests.is_empty() %}
	if ({{ sockets.finds("var.get(\"host\")") }}) {
		call requests.subroutine(select=LONGEST);
		return (synth(404));
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
}

sub vcl_hash {
	# The key stands for the listener, the backend and the changes of the request. A URL has no space.
{%- if self.has_plain_rules() %}
	if ({{ self.is_plain() }}) {
		hash_data(requests.string(select=LONGEST) + req.url + " " + req.http.Host);
		return (lookup);
	}
{%- endif %}
	call hash_by_rule;
	return (lookup);
}

sub hash_by_rule {
	hash_data(var.get("key") + req.url + " " + req.http.Host);
}
{%- if self.has_plain_rules() && !hooks.after_routing %}

# A rule that only forwards needs a backend only for what is not in the cache, or to be refreshed.
sub choose_backend {
	if ({{ self.is_plain() }}) {
		set req.backend_hint = requests.backend(select=LONGEST);
	}
}

sub vcl_hit {
	if (obj.ttl > 0s) {
		return (deliver);
	}
	call choose_backend;
}

sub vcl_miss {
	call choose_backend;
}

sub vcl_pass {
	call choose_backend;
}
{%- endif %}

sub vcl_pipe {
	unset bereq.http.X-Copal-Fetch;
	call tell_scheme;
	set bereq.http.Connection = "Upgrade";
	set bereq.http.Upgrade = req.http.Upgrade;
	return (pipe);
}
