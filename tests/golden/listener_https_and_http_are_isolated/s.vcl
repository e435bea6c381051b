# Copal: a shard, loaded under the label copal_s. Its hosts:
#   a.one.test, Gateway default/gw listener http
#   *.one.test, Gateway default/gw listener http
#   *.one.test, Gateway default/gw listener https
vcl 4.1;

import selector;
import std;
import var;

backend default none;

# Service default/a:80
backend svc_default__a__80__10-0-0-1__8080 { .host = "10.0.0.1"; .port = "8080"; }

# Service default/b:80
backend svc_default__b__80__10-0-0-2__8080 { .host = "10.0.0.2"; .port = "8080"; }

sub vcl_init {
	# Hosts with their paths.
	new requests = selector.set();
	new domains_80 = selector.set();
	new domains_443 = selector.set();
}

# What rules do. Each ends the request's way through vcl_recv.

# HTTPRoute default/secure rule 0
sub rule_0 {
	var.set("key", "0f2e746010f9c04a");
	set req.backend_hint = svc_default__a__80__10-0-0-1__8080;
	call forward;
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

# A rule that does no more: what is to be known of it is read from its entry in the look-up table when it is needed. That
# there is one, an empty client.identity says, which costs less to set and to compare than anything else.
sub forward_only {
	set client.identity = "";
	if ((req.method == "GET" || req.method == "HEAD") && !req.http.Authorization && !req.http.Cookie) {
		return (hash);
	}
	if (req.method == "CONNECT" || req.method == "PRI") {
		return (synth(405));
	}
	return (pass);
}

# Which rule a request is for. A subroutine that returns has found none.

# *.one.test, Gateway default/gw listener http
sub host_1 {
}

# *.one.test, Gateway default/gw listener https
sub host_2 {
	call rule_0;
}

# Which host a request is for.

sub port_80 {
	# Domains of wildcards, those with more labels first.
	if (domains_80.match(regsub(var.get("host"), "^.+?((?:\.[^.]+){2})$", "\1"))) {
		call domains_80.subroutine(select=UNIQUE);
		return (synth(404));
	}
}

sub port_443 {
	# Domains of wildcards, those with more labels first.
	if (domains_443.match(regsub(var.get("host"), "^.+?((?:\.[^.]+){2})$", "\1"))) {
		call domains_443.subroutine(select=UNIQUE);
		return (synth(404));
	}
}

sub vcl_recv {
	# Host and path in one look-up, as they were sent, which is most often the form to compare. A host has no space, so
	# the URL begins where it seems to.
	if ((local.socket != "relay" && requests.hasprefix(local.socket + "/" + req.http.Host + " " + req.url + "/"))
		|| (local.socket == "relay" && requests.hasprefix("http-" + std.port(server.ip) + "/" + req.http.Host + " " + req.url + "/"))) {
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
	if ((local.socket != "relay" && requests.hasprefix(local.socket + "/" + var.get("host") + " " + req.url + "/"))
		|| (local.socket == "relay" && requests.hasprefix("http-" + std.port(server.ip) + "/" + var.get("host") + " " + req.url + "/"))) {
		call requests.subroutine(select=LONGEST);
		return (synth(404));
	}
	if (local.socket == "http-80" || (local.socket == "relay" && std.port(server.ip) == 80)) {
		call port_80;
	}
	if (local.socket == "relay" && std.port(server.ip) == 443) {
		call port_443;
	}
}

sub vcl_hash {
	# The key stands for the listener, the backend and the changes of the request. A URL has no space.
	if (client.identity == "") {
		hash_data(requests.string(select=LONGEST) + req.url + " " + req.http.Host);
		return (lookup);
	}
	call hash_by_rule;
	return (lookup);
}

sub hash_by_rule {
	hash_data(var.get("key") + req.url + " " + req.http.Host);
}

# A rule that only forwards needs a backend only for what is not in the cache, or to be refreshed.
sub choose_backend {
	if (client.identity == "") {
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
	if (local.socket == "relay" && std.port(server.ip) != 80) {
		set bereq.http.X-Forwarded-Proto = "https";
	} else {
		set bereq.http.X-Forwarded-Proto = "http";
	}
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
	if (client.identity == "" && sess.timeout_idle >= 2s) {
		return (deliver);
	}
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
	requests.add("http-80/a.one.test /", sub=forward_only, string="a1b6db6049c23b6f", backend=svc_default__b__80__10-0-0-2__8080);
	domains_80.add(".one.test", sub=host_1);
	domains_443.add(".one.test", sub=host_2);
}
