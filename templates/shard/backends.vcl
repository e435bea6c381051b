{%- for service in services %}

# {{ service.comment }}
{%- for backend in service.backends %}
{%- match backend.path %}
{%- when Some(path) %}
backend {{ backend.name }} { .path = {{ path }}; .host_header = {{ backend.host }}; }
{%- when None %}
backend {{ backend.name }} { .host = {{ backend.host }}; .port = {{ backend.port }}; }
{%- endmatch %}
{%- endfor %}
{%- endfor %}

sub vcl_init {
{%- for service in services %}
{%- if let Some(director) = service.director %}
	new {{ director }} = directors.round_robin();
{%- for backend in service.backends %}
	{{ director }}.add_backend({{ backend.name }});
{%- endfor %}
{%- endif %}
{%- endfor %}
{%- if !requests.is_empty() %}
	# Hosts with their paths.
	new requests = selector.set();
{%- endif %}
{%- if logs && self.has_plain_rules() %}
	# Rules that only forward: route, rule and backend.
	new names = selector.set();
{%- endif %}
{%- for port in ports %}
{%- if !port.table.wild.is_empty() %}
	new {{ port.table.wild_set }} = selector.set();
{%- endif %}
{%- endfor %}
{%- if self.has_exact_paths() || self.has_prefixes() %}
	# Paths of {% if !requests.is_empty() %}other {% endif %}hosts, each after its host's number.
{%- endif %}
{%- if self.has_exact_paths() %}
	new exact_paths = selector.set();
{%- endif %}
{%- if self.has_prefixes() %}
	new prefixes = selector.set();
{%- endif %}
}
