sub {{ table.sub }} {
{%- if !table.exact.is_empty() %}
	# As it was sent, which is most often the form to compare.
	if ({{ table.exact_set }}.match(req.http.Host)) {
		call {{ table.exact_set }}.subroutine(select=UNIQUE);
		return (synth(404));
	}
{%- endif %}
	# In lower case, as in Varnish's built-in VCL: one host, one object in the cache.
	if (req.http.Host ~ "[[:upper:]]") {
		set req.http.Host = std.tolower(req.http.Host);
	}
{%- if !table.is_any_only() %}
	# Without port and trailing dot. The backend gets them: they are part of the cache key.
	var.set("host", regsub(req.http.Host, "\.?(:[0-9]+)?$", ""));
{%- endif %}
{%- if !table.exact.is_empty() %}
	if ({{ table.exact_set }}.match(var.get("host"))) {
		call {{ table.exact_set }}.subroutine(select=UNIQUE);
		return (synth(404));
	}
{%- endif %}
{%- for suffix in table.suffixes %}
	# Domains of wildcards, those with more labels first.
	if ({{ table.wild_set }}.match(regsub(var.get("host"), {{ suffix }}, "\1"))) {
		call {{ table.wild_set }}.subroutine(select=UNIQUE);
		return (synth(404));
	}
{%- endfor %}
{%- if let Some(any) = table.any %}
	call {{ any }};
{%- endif %}
	return (synth(404));
}
