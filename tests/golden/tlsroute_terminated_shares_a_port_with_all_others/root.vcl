# Copal: the root. It finds the host of a request and hands over to the VCL that serves it.
# Everything else is in the labelled VCLs; what is changed in a request here is undone at the hand-over.
vcl 4.1;

import proxy;
import selector;
import std;
import var;

backend default none;

sub vcl_init {
	new listener_domains_443 = selector.set();
	listener_domains_443.add(".plain.test");
	listener_domains_443.add(".pass.test");
	listener_domains_443.add(".web.test");
}

# Requests must belong to the listener that their connection was made for, which its server name belongs to.
sub check_443 {
	set client.identity = regsub(proxy.authority(), "\.$", "");
	call listener_443;
	var.set("listener", client.identity);
	set client.identity = req.http.Host;
	call listener_443;
	if (client.identity != "*" && client.identity != var.get("listener")) {
		return (synth(421, "Misdirected Request"));
	}
}

# Puts the listener that a host belongs to in the host's place.
sub listener_443 {
	if (listener_domains_443.match(regsub(client.identity, "^.+?((?:\.[^.]+){2})$", "\1"))) {
		set client.identity = regsub(client.identity, "^.+?((?:\.[^.]+){2})$", "\1");
	} else {
		set client.identity = "*";
	}
}

sub vcl_recv {
	if (req.http.Host ~ "[^a-z0-9.-]|\.$") {
		# In lower case, without port and trailing dot.
		set req.http.Host = std.tolower(regsub(req.http.Host, "\.?(:[0-9]*)?$", ""));
		# Shards rely on it that nothing else is in a host's name (RFC 9112 section 3.2, RFC 3986 section 3.2.2).
		if (req.http.Host !~ "^([a-z0-9._~!$&'()*+,;=%-]*|\[[0-9a-z:.]+\])$") {
			return (synth(400));
		}
	}
	# Only what the client itself asks for can be misdirected.
	if (proxy.authority() != req.http.Host && req.esi_level == 0 && req.restarts == 0) {
		call check_443;
	}
	return (vcl(copal_s));
	return (synth(404));
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

sub respond {
	# When draining, the reloader sets the parameter timeout_idle to 1.
	if (sess.timeout_idle < 2s) {
		set resp.http.Connection = "close";
	}
}
