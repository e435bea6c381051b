# Copal: the root. It finds the host of a request and hands over to the VCL that serves it.
# Everything else is in the labelled VCLs; what is changed in a request here is undone at the hand-over.
vcl 4.1;

import selector;
import std;
import var;

backend default none;

sub vcl_init {
	new hosts_80 = selector.set();
}

sub to_copal_s {
	return (vcl(copal_s));
}

sub port_80 {
	# As it was sent, which is most often the form to compare.
	if (hosts_80.match(req.http.Host)) {
		call hosts_80.subroutine(select=UNIQUE);
		return (synth(404));
	}
	# In lower case, as in Varnish's built-in VCL: one host, one object in the cache.
	if (req.http.Host ~ "[[:upper:]]") {
		set req.http.Host = std.tolower(req.http.Host);
	}
	# Without port and trailing dot. The backend gets them: they are part of the cache key.
	var.set("host", regsub(req.http.Host, "\.?(:[0-9]+)?$", ""));
	if (hosts_80.match(var.get("host"))) {
		call hosts_80.subroutine(select=UNIQUE);
		return (synth(404));
	}
	call to_copal_s;
	return (synth(404));
}

sub vcl_recv {
	call port_80;
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

sub vcl_init {

	hosts_80.add("far.test", sub=to_copal_s);
}
