# Copal: a shard, loaded under the label copal_s. Its hosts:
#   *, Gateway default/gw listener http
vcl 4.1;

import selector;
import std;
import var;

backend default none;

# Service default/a:80
backend svc_default__a__80__10-0-0-1__8080 { .host = "10.0.0.1"; .port = "8080"; }

sub vcl_init {
	# Paths of hosts, each after its host's number.
	new prefixes = selector.set();
}

# What rules do. Each ends the request's way through vcl_recv.

# HTTPRoute default/r rule 0
sub rule_0 {
	set req.http.X-Copal-Fetch = "0";
	var.set("key", "9d402d755cff3d28");
	set req.backend_hint = svc_default__a__80__10-0-0-1__8080;
	call forward;
}

# HTTPRoute default/r rule 2
sub rule_1 {
	set req.http.X-Copal-Fetch = "1";
	var.set("key", "9d402d755cff3d28");
	set req.backend_hint = svc_default__a__80__10-0-0-1__8080;
	call forward;
}

# HTTPRoute default/r rule 3
sub rule_2 {
	set req.http.X-Copal-Fetch = "2";
	var.set("key", "9d402d755cff3d28");
	set req.backend_hint = svc_default__a__80__10-0-0-1__8080;
	call forward;
}

# HTTPRoute default/r rule 1
sub rule_3 {
	set req.http.X-Copal-Fetch = "3";
	var.set("key", "9d402d755cff3d28");
	set req.backend_hint = svc_default__a__80__10-0-0-1__8080;
	call forward;
}

# HTTPRoute default/r rule 4
sub rule_4 {
	# timeouts: "soon" is not a duration: Invalid duration format
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

# *, Gateway default/gw listener http
sub host_0 {
	if (prefixes.hasprefix("0" + req.url + "/")) {
		call prefixes.subroutine(select=LONGEST);
	}
}

# Which host a request is for.

sub port_80 {
	call host_0;
}

sub vcl_recv {
	unset req.http.X-Copal-Fetch;
	call look_up;
	return (synth(404));
}

# What is slow is not in vcl_recv: a subroutine prepares the modules that it names, whether it gets to them or not.
sub look_up {
	# In lower case, as in Varnish's built-in VCL: one host, one object in the cache.
	if (req.http.Host ~ "[[:upper:]]") {
		set req.http.Host = std.tolower(req.http.Host);
	}
	call port_80;
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
	if (var.get("fetch") == "0") {
		# request Some(10s), backendRequest None, retry None
		set bereq.first_byte_timeout = 10.000s;
		set bereq.between_bytes_timeout = 10.000s;
		if (bereq.retries > 0 && var.get_real("try") + 10.000 > var.get_real("start") + 10.000) {
			# What is left of the request's time.
			set bereq.first_byte_timeout = std.duration(real=var.get_real("start") + 10.000 - var.get_real("try"));
			if (bereq.first_byte_timeout < 1ms) {
				set bereq.first_byte_timeout = 1ms;
			}
		}
	}
	if (var.get("fetch") == "1") {
		# request Some(90s), backendRequest Some(2s), retry None
		set bereq.connect_timeout = 2.000s;
		set bereq.first_byte_timeout = 2.000s;
		set bereq.between_bytes_timeout = 2.000s;
		if (bereq.retries > 0 && var.get_real("try") + 2.000 > var.get_real("start") + 90.000) {
			# What is left of the request's time.
			set bereq.first_byte_timeout = std.duration(real=var.get_real("start") + 90.000 - var.get_real("try"));
			if (bereq.first_byte_timeout < 1ms) {
				set bereq.first_byte_timeout = 1ms;
			}
		}
	}
	if (var.get("fetch") == "2") {
		# request Some(0ns), backendRequest None, retry None
		set bereq.first_byte_timeout = 1728000.000s;
		set bereq.between_bytes_timeout = 1728000.000s;
	}
	if (var.get("fetch") == "3") {
		# request None, backendRequest Some(500ms), retry None
		set bereq.connect_timeout = 0.500s;
		set bereq.first_byte_timeout = 0.500s;
		set bereq.between_bytes_timeout = 0.500s;
	}
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
	if (var.get("fetch") == "0") {
		if (std.time2real(now, 0.0) - var.get_real("start") > 10.000 - 0.05) {
			call timed_out;
		}
		if (std.time2real(now, 0.0) - var.get_real("try") > 10.000 - 0.05) {
			call timed_out;
		}
	}
	if (var.get("fetch") == "1") {
		if (std.time2real(now, 0.0) - var.get_real("start") > 90.000 - 0.05) {
			call timed_out;
		}
		if (std.time2real(now, 0.0) - var.get_real("try") > 2.000 - 0.05) {
			call timed_out;
		}
	}
	if (var.get("fetch") == "2") {
		if (std.time2real(now, 0.0) - var.get_real("try") > 1728000.000 - 0.05) {
			call timed_out;
		}
	}
	if (var.get("fetch") == "3") {
		if (std.time2real(now, 0.0) - var.get_real("try") > 0.500 - 0.05) {
			call timed_out;
		}
	}
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

sub timed_out {
	set beresp.status = 504;
	set beresp.reason = "Gateway Timeout";
	set beresp.body = {"504 Gateway Timeout
"};
	return (deliver);
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
	prefixes.add("0/bad/", sub=rule_4);
	prefixes.add("0/bad?", sub=rule_4);
	prefixes.add("0/both/", sub=rule_1);
	prefixes.add("0/both?", sub=rule_1);
	prefixes.add("0/none/", sub=rule_2);
	prefixes.add("0/none?", sub=rule_2);
	prefixes.add("0/request/", sub=rule_0);
	prefixes.add("0/request?", sub=rule_0);
	prefixes.add("0/try/", sub=rule_3);
	prefixes.add("0/try?", sub=rule_3);
}
