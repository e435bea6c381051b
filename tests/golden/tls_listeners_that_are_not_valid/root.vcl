# Copal: the root. It finds the host of a request and hands over to the VCL that serves it.
# Everything else is in the labelled VCLs; what is changed in a request here is undone at the hand-over.
vcl 4.1;

import selector;
import std;

backend default none;

sub vcl_recv {
	if (req.http.Host ~ "[^a-z0-9.-]|\.$") {
		# In lower case, without port and trailing dot.
		set req.http.Host = std.tolower(regsub(req.http.Host, "\.?(:[0-9]*)?$", ""));
		# Shards rely on it that nothing else is in a host's name (RFC 9112 section 3.2, RFC 3986 section 3.2.2).
		if (req.http.Host !~ "^([a-z0-9._~!$&'()*+,;=%-]*|\[[0-9a-z:.]+\])$") {
			return (synth(400));
		}
	}
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
