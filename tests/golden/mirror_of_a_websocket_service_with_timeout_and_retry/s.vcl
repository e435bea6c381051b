# Copal: a shard, loaded under the label copal_s. Its hosts:
#   ws.test, Gateway default/gw listener http
#   *, Gateway default/gw listener http
vcl 4.1;

import selector;
import std;
import var;

backend default none;

# Service default/ws:80 through the relay, 5/100 copied to default/b:80
backend svc_default__ws__80__91146bb1906b322b34555337__2001-db8--1__8080 { .path = "/run/copal/relay/up/53a63ebfc783a7df275d81c2"; .host_header = "2001:db8::1"; }

sub vcl_init {
	# Hosts with their paths.
	new requests = selector.set();
}

# What rules do. Each ends the request's way through vcl_recv.

# HTTPRoute default/r rule 0
sub rule_0 {
	set req.http.X-Copal-Fetch = "0";
	var.set("key", "72fd9ebf1adb2627");
	set req.backend_hint = svc_default__ws__80__91146bb1906b322b34555337__2001-db8--1__8080;
	if (req.method == "GET" && req.http.Upgrade ~ "(?i)^websocket$") {
		return (pipe);
	}
	call forward_copied;
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

# A request that is copied gets to its backend, each time.
sub forward_copied {
	if (req.method == "CONNECT" || req.method == "PRI") {
		return (synth(405));
	}
	return (pass);
}

# Which rule a request is for. A subroutine that returns has found none.

# *, Gateway default/gw listener http
sub host_1 {
}

# Which host a request is for.

sub port_80 {
	call host_1;
}

sub vcl_recv {
	unset req.http.X-Copal-Fetch;
	# Host and path in one look-up, as they were sent, which is most often the form to compare. A host has no space, so
	# the URL begins where it seems to.
	if (requests.hasprefix(req.http.Host + " " + req.url + "/")) {
		call requests.subroutine(select=LONGEST);
		return (synth(404));
	}
	call look_up;
	return (synth(404));
}

# What is slow is not in vcl_recv: a subroutine prepares the modules that it names, whether it gets to them or not.
sub look_up {
	if (req.url !~ "^/") {
		return (synth(404));
	}
	# In lower case, as in Varnish's built-in VCL: one host, one object in the cache.
	if (req.http.Host ~ "[[:upper:]]") {
		set req.http.Host = std.tolower(req.http.Host);
	}
	# Without port and trailing dot. The backend gets them: they are part of the cache key.
	var.set("host", regsub(req.http.Host, "\.?(:[0-9]*)?$", ""));
	if (requests.hasprefix(var.get("host") + " " + req.url + "/")) {
		call requests.subroutine(select=LONGEST);
		return (synth(404));
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
		# request Some(2s), backendRequest None, retry Some(Retry { codes: [503], attempts: 1 })
		set bereq.connect_timeout = 2.000s;
		set bereq.first_byte_timeout = 2.000s;
		set bereq.between_bytes_timeout = 2.000s;
		if (bereq.retries > 0 && var.get_real("try") + 2.000 > var.get_real("start") + 2.000) {
			# What is left of the request's time.
			set bereq.first_byte_timeout = std.duration(real=var.get_real("start") + 2.000 - var.get_real("try"));
			if (bereq.first_byte_timeout < 1ms) {
				set bereq.first_byte_timeout = 1ms;
			}
		}
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
	if (var.get("fetch") == "0" && (beresp.status == 503) && bereq.retries < 1) {
		call try_again;
	}
}

sub vcl_backend_error {
	set beresp.http.Content-Type = "text/plain; charset=utf-8";
	if (var.get("fetch") == "0") {
		if (std.time2real(now, 0.0) - var.get_real("start") > 2.000 - 0.05) {
			call timed_out;
		}
		if (bereq.retries < 1) {
			call try_again;
		}
		if (std.time2real(now, 0.0) - var.get_real("try") > 2.000 - 0.05) {
			call timed_out;
		}
		call unavailable;
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
	requests.add("ws.test /", sub=rule_0);
}
