
# Requests must belong to the listener that their connection was made for, which its server name belongs to.
sub {{ check.sub }} {
	set client.identity = regsub(proxy.authority(), "\.$", "");
	call {{ check.find }};
	var.set("listener", client.identity);
	set client.identity = req.http.Host;
	call {{ check.find }};
	if ({% if !check.any %}client.identity != "*" && {% endif %}client.identity != var.get("listener")) {
		return (synth(421, "Misdirected Request"));
	}
}

# Puts the listener that a host belongs to in the host's place.
sub {{ check.find }} {
	{% if !check.exact.is_empty() -%}
	if ({{ check.exact_set }}.match(client.identity)) {
		# It is the listener's own.
	} else {% endif -%}
	{% for suffix in check.suffixes -%}
	if ({{ check.wild_set }}.match(regsub(client.identity, {{ suffix }}, "\1"))) {
		set client.identity = regsub(client.identity, {{ suffix }}, "\1");
	} else {% endfor -%}
	{
		set client.identity = "*";
	}
}
