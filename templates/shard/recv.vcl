

# Which host a request is for.
{%- for port in ports %}
{%- let table = port.table %}
{% include "hosts.vcl" %}
{%- endfor %}

sub vcl_recv {
{%- if !fetches.is_empty() %}
	unset req.http.X-Copal-Fetch;
{%- endif %}
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

sub vcl_hash {
	# The key stands for the listener, the backend and the changes of the request.
	hash_data(var.get("key"));
	hash_data(req.url);
	hash_data(req.http.Host);
	return (lookup);
}

sub vcl_pipe {
	unset bereq.http.X-Copal-Fetch;
	set bereq.http.Connection = "Upgrade";
	set bereq.http.Upgrade = req.http.Upgrade;
	return (pipe);
}
