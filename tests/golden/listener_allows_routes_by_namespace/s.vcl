# Copal: a shard, loaded under the label copal_s. Its hosts:
#   *, Gateway default/gw listener same
#   *, Gateway default/gw listener labelled
vcl 4.1;

import selector;
import std;
import var;

backend default none;

sub vcl_init {
}

# What rules do. Each ends the request's way through vcl_recv.

# HTTPRoute red/red rule 0
sub rule_0 {
	# Service red/a does not exist
	return (synth(500));
}

# What is looked up in the cache, and what is not.
sub forward {
	if ((req.method == "GET" || req.method == "HEAD") && !req.http.Authorization && !req.http.Cookie) {
		return (hash);
	}
	if (req.method == "CONNECT" || req.method == "PRI") {
		return (synth(405));
	}
	return (pass);
}

# Which rule a request is for. A subroutine that returns has found none.

# *, Gateway default/gw listener same
sub host_0 {
}

# *, Gateway default/gw listener labelled
sub host_1 {
	call rule_0;
}

# Which host a request is for.

sub port_80 {
	call host_0;
}

sub port_81 {
	call host_1;
}

sub vcl_recv {
	call look_up;
	return (synth(404));
}

# What is slow is not in vcl_recv: a subroutine prepares the modules that it names, whether it gets to them or not.
sub look_up {
	# In lower case, as in Varnish's built-in VCL: one host, one object in the cache.
	if (req.http.Host ~ "[[:upper:]]") {
		set req.http.Host = std.tolower(req.http.Host);
	}
	if (local.socket == "http-80" || (local.socket == "relay" && std.port(server.ip) == 80)) {
		call port_80;
	}
	if (local.socket == "http-81" || (local.socket == "relay" && std.port(server.ip) == 81)) {
		call port_81;
	}
}

sub vcl_hash {
	# The key stands for the listener, the backend and the changes of the request. A URL has no space.
	call hash_by_rule;
	return (lookup);
}

sub hash_by_rule {
	hash_data(var.get("key") + req.url + " " + req.http.Host);
}

sub vcl_pipe {
	unset bereq.http.X-Copal-Fetch;
	call tell_scheme;
	set bereq.http.Connection = "Upgrade";
	set bereq.http.Upgrade = req.http.Upgrade;
	return (pipe);
}

sub vcl_backend_fetch {
	if (bereq.retries == 0) {
		var.set_real("start", std.time2real(now, 0.0));
		var.set("fetch", bereq.http.X-Copal-Fetch);
		unset bereq.http.X-Copal-Fetch;
		call tell_scheme;
	}
	var.set_real("try", std.time2real(now, 0.0));
}

# The scheme that the client uses, whatever it says itself.
sub tell_scheme {
	# Varnish makes it out of HTTP/2's :scheme.
	unset bereq.http.Scheme;
	set bereq.http.X-Forwarded-Proto = "http";
}

sub vcl_backend_response {
	# The cache tells schemes apart by itself, and requests are looked up without this header.
	if (beresp.http.Vary ~ "(?i)x-forwarded-proto") {
		set beresp.http.Vary = regsub(regsuball(beresp.http.Vary, "(?i)(^|,)\s*x-forwarded-proto\s*(?=,|$)", ""), "^\s*,\s*", "");
		if (beresp.http.Vary == "") {
			unset beresp.http.Vary;
		}
	}
}

sub vcl_backend_error {
	set beresp.http.Content-Type = "text/plain; charset=utf-8";
	# An endpoint that is gone costs no request that can be repeated: another one gets it.
	if (bereq.retries == 0 && (bereq.method == "GET" || bereq.method == "HEAD") && std.time2real(now, 0.0) - var.get_real("start") < 1.0) {
		call try_again;
	}
	call unavailable;
}

# Only requests without a body can be sent again.
sub try_again {
	if (bereq.method == "GET" || bereq.method == "HEAD" || (!bereq.http.Transfer-Encoding && (!bereq.http.Content-Length || bereq.http.Content-Length == "0"))) {
		return (retry);
	}
}

sub unavailable {
	set beresp.body = {"503 Service Unavailable
"};
	return (deliver);
}

sub respond {
	# When draining, the reloader sets the parameter timeout_idle to 1.
	if (sess.timeout_idle < 2s) {
		set resp.http.Connection = "close";
	}
}

sub vcl_deliver {
	call respond;
	return (deliver);
}

sub vcl_synth {
	if (var.get("location")) {
		set resp.http.Location = var.get("location");
	}
}

sub vcl_synth {
	call respond;
	if (resp.status == 204) {
		set resp.body = "";
	} else {
		set resp.http.Content-Type = "text/plain; charset=utf-8";
		set resp.body = "" + resp.status + " " + resp.reason + {"
"};
	}
	return (deliver);
}

# The look-up tables, now that what they call is known.
sub vcl_init {
}
