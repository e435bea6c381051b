# Copal: a shard, loaded under the label {{ label }}. Its hosts:
{%- for comment in comments %}
#   {{ comment }}
{%- endfor %}
vcl 4.1;
{% if self.has_directors() %}
import directors;
{%- endif %}
{%- if self.adds_lines() %}
import header;
{%- endif %}
import selector;
import std;
import var;

backend default none;
{%- if let Some(user) = user %}

# {{ user.head }}
{{ user.text }}
# End of the user's VCL.
{%- endif %}
{%- include "shard/backends.vcl" %}
{%- include "shard/rules.vcl" %}
{%- include "shard/match.vcl" %}
{%- include "shard/recv.vcl" %}
{%- include "shard/backend.vcl" %}
{%- include "shard/deliver.vcl" %}

# The look-up tables, now that what they call is known.
sub vcl_init {
{%- for name in names %}
	names.add({{ name }});
{%- endfor %}
{%- for request in requests %}
{%- match request.plain %}
{%- when Some(plain) %}
	requests.add({{ request.text }}, sub={{ request.sub }}, string={{ plain.key }}, backend={{ plain.backend }}{% if let Some(name) = request.name %}, integer={{ name }}{% endif %});
{%- when None %}
	requests.add({{ request.text }}, sub={{ request.sub }});
{%- endmatch %}
{%- endfor %}
{%- for port in ports %}
{%- let table = port.table %}
{%- include "hosts_init.vcl" %}
{%- endfor %}
{%- for host in hosts %}
{%- for group in host.paths.exact %}
{%- for element in group.elements %}
	exact_paths.add({{ element }}, sub={{ group.called }});
{%- endfor %}
{%- endfor %}
{%- if host.paths.looks_up_prefixes() %}
{%- for group in host.paths.prefixes %}
{%- for element in group.elements %}
	prefixes.add({{ element }}, sub={{ group.called }});
{%- endfor %}
{%- endfor %}
{%- endif %}
{%- endfor %}
}

