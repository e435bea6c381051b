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
{%- for host in hosts %}
{%- if !host.paths.exact.is_empty() %}
	new {{ host.exact_set }} = selector.set();
{%- endif %}
{%- if host.paths.looks_up_prefixes() %}
	new {{ host.prefix_set }} = selector.set();
{%- endif %}
{%- endfor %}
}
