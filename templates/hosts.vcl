sub {{ table.sub }} {
{%- if !table.exact.is_empty() %}
	# As it was sent, which is most often the form to compare.
	if ({{ table.exact_set }}.match(req.http.Host)) {
		call {{ table.exact_set }}.subroutine(select=UNIQUE);
		return (synth(404));
	}
{%- endif %}
{%- if !table.is_any_only() %}
	# In lower case, without port and trailing dot.
	var.set("host", regsub(std.tolower(req.http.Host), "\.?(:[0-9]+)?$", ""));
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
