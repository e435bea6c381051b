{%- for service in services %}
# {{ service.comment }}
{%- for backend in service.backends %}
backend {{ backend.name }} { .host = {{ backend.host }}; .port = {{ backend.port }}; }
{%- endfor %}
{% endfor %}
sub vcl_init {
{%- for service in services %}
	new {{ service.director }} = directors.round_robin();
{%- for backend in service.backends %}
	{{ service.director }}.add_backend({{ backend.name }});
{%- endfor %}
{%- endfor %}
{%- for port in ports %}
	new {{ port.table.exact_set }} = selector.set();
	new {{ port.table.wild_set }} = selector.set();
{%- endfor %}
{%- for host in hosts %}
	new {{ host.exact_set }} = selector.set();
	new {{ host.prefix_set }} = selector.set();
{%- endfor %}
}
