{%- if !table.exact.is_empty() %}
	if ({{ table.exact_set }}.match({{ host }})) {
		call {{ table.exact_set }}.subroutine(select=UNIQUE);
		return (synth(404));
	}
{%- endif %}
{%- for suffix in table.suffixes %}
	# Domains of wildcards, those with more labels first.
	if ({{ table.wild_set }}.match(regsub({{ host }}, {{ suffix }}, "\1"))) {
		call {{ table.wild_set }}.subroutine(select=UNIQUE);
		return (synth(404));
	}
{%- endfor %}
{%- if let Some(any) = table.any %}
	call {{ any }};
{%- endif %}
