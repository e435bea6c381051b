# Copal: a shard, loaded under the label {{ label }}. Its hosts:
{%- for host in hosts %}
#   {{ host.comment }}
{%- endfor %}
vcl 4.1;

import directors;
import header;
import selector;
import std;
import var;

backend default none;
{%- include "shard/backends.vcl" %}
{%- include "shard/rules.vcl" %}
{%- include "shard/match.vcl" %}
{%- include "shard/recv.vcl" %}
{%- include "shard/backend.vcl" %}
{%- include "shard/deliver.vcl" %}

# The look-up tables, now that what they call is known.
sub vcl_init {
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

