

sub vcl_backend_fetch {
	if (bereq.retries == 0) {
		var.set_real("start", std.time2real(now, 0.0));
		var.set("fetch", bereq.http.X-Copal-Fetch);
		unset bereq.http.X-Copal-Fetch;
		call tell_scheme;
	}
	var.set_real("try", std.time2real(now, 0.0));
{%- for fetch in fetches %}
	if (var.get("fetch") == {{ fetch.id }}) {
		# {{ fetch.comment }}
{%- if let Some(one_try) = fetch.one_try %}
{%- if fetch.limits_connect() %}
		set bereq.connect_timeout = {{ one_try }};
{%- endif %}
		set bereq.first_byte_timeout = {{ one_try }};
		set bereq.between_bytes_timeout = {{ one_try }};
{%- endif %}
{%- if let Some(all_tries) = fetch.all_tries %}
		if (bereq.retries > 0 && var.get_real("try") + {{ fetch.try_real() }} > var.get_real("start") + {{ all_tries.real() }}) {
			# What is left of the request's time.
			set bereq.first_byte_timeout = std.duration(real=var.get_real("start") + {{ all_tries.real() }} - var.get_real("try"));
			if (bereq.first_byte_timeout < 1ms) {
				set bereq.first_byte_timeout = 1ms;
			}
		}
{%- endif %}
	}
{%- endfor %}
{%- if hooks.backend_fetch %}
	call copal_backend_fetch;
{%- endif %}
}

# The scheme that the client uses, whatever it says itself.
sub tell_scheme {
	# Varnish makes it out of HTTP/2's :scheme.
	unset bereq.http.Scheme;
{%- if !self.changes_proto() %}
{%- let message = "bereq" %}
{%- include "proto.vcl" %}
{%- endif %}
}

sub vcl_backend_response {
{%- if !self.changes_proto() %}
	# The cache tells schemes apart by itself, and requests are looked up without this header.
	if (beresp.http.Vary ~ "(?i)x-forwarded-proto") {
		set beresp.http.Vary = regsub(regsuball(beresp.http.Vary, "(?i)(^|,)\s*x-forwarded-proto\s*(?=,|$)", ""), "^\s*,\s*", "");
		if (beresp.http.Vary == "") {
			unset beresp.http.Vary;
		}
	}
{%- endif %}
{%- for fetch in fetches %}
{%- if let Some(codes) = fetch.codes %}
	if (var.get("fetch") == {{ fetch.id }} && ({{ codes }}) && bereq.retries < {{ fetch.retries }}) {
		call try_again;
	}
{%- endif %}
{%- endfor %}
{%- if hooks.backend_response %}
	call copal_backend_response;
{%- endif %}
}

sub vcl_backend_error {
	set beresp.http.Content-Type = "text/plain; charset=utf-8";
{%- for fetch in fetches %}
	if (var.get("fetch") == {{ fetch.id }}) {
{%- if let Some(all_tries) = fetch.all_tries %}
		if (std.time2real(now, 0.0) - var.get_real("start") > {{ all_tries.real() }} - 0.05) {
			call timed_out;
		}
{%- endif %}
{%- if fetch.has_retry %}
		if (bereq.retries < {{ fetch.retries }}) {
			call try_again;
		}
{%- endif %}
{%- if let Some(one_try) = fetch.one_try %}
		if (std.time2real(now, 0.0) - var.get_real("try") > {{ one_try.real() }} - 0.05) {
			call timed_out;
		}
{%- endif %}
{%- if fetch.has_retry %}
		call unavailable;
{%- endif %}
	}
{%- endfor %}
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
{%- if !fetches.is_empty() %}

sub timed_out {
	set beresp.status = 504;
	set beresp.reason = "Gateway Timeout";
	set beresp.body = {"504 Gateway Timeout
"};
	return (deliver);
}
{%- endif %}

sub unavailable {
	set beresp.body = {"503 Service Unavailable
"};
	return (deliver);
}
