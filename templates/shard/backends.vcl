{%- for service in services %}

# {{ service.comment }}
{%- for backend in service.backends %}
backend {{ backend.name }} { .host = {{ backend.host }}; .port = {{ backend.port }}; }
{%- endfor %}
{%- endfor %}

sub vcl_init {
{%- for service in services %}
	new {{ service.director }} = directors.round_robin();
{%- for backend in service.backends %}
	{{ service.director }}.add_backend({{ backend.name }});
{%- endfor %}
{%- endfor %}
{%- for port in ports %}
{%- if !port.table.exact.is_empty() %}
	new {{ port.table.exact_set }} = selector.set();
{%- endif %}
{%- if !port.table.wild.is_empty() %}
	new {{ port.table.wild_set }} = selector.set();
{%- endif %}
{%- endfor %}
	# Paths of all hosts, each after its host's number.
{%- if self.has_exact_paths() %}
	new exact_paths = selector.set();
{%- endif %}
{%- if self.has_prefixes() %}
	new prefixes = selector.set();
{%- endif %}
}
