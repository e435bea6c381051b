{%- for entry in table.exact %}
	{{ table.exact_set }}.add({{ entry.text }}, sub={{ entry.sub }});
{%- endfor %}
{%- for entry in table.wild %}
	{{ table.wild_set }}.add({{ entry.text }}, sub={{ entry.sub }});
{%- endfor %}
