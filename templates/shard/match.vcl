

# Which rule a request is for. A subroutine that returns has found none.
{%- for host in hosts %}
{%- for group in host.paths.groups() %}
{% include "group.vcl" %}
{%- endfor %}

# {{ host.comment }}
sub {{ host.sub }} {
{%- for header in host.paths.headers %}
	std.collect(req.http.{{ header }}, ",");
{%- endfor %}
{%- if !host.paths.exact.is_empty() %}
	if (exact_paths.match({{ host.number }} + req.url)) {
		call exact_paths.subroutine(select=UNIQUE);
	} else if (req.url ~ "\?" && exact_paths.match({{ host.number }} + regsub(req.url, "\?.*$", ""))) {
		call exact_paths.subroutine(select=UNIQUE);
	}
{%- endif %}
{%- if !host.paths.regexes.is_empty() %}
	var.set("path", regsub(req.url, "\?.*$", ""));
{%- endif %}
{%- for entry in host.paths.regexes %}
	if (var.get("path") ~ {{ entry.path }}{% if let Some(condition) = entry.condition %} && {{ condition }}{% endif %}) {
		call {{ entry.rule }};
	}
{%- endfor %}
{%- if let Some(everything) = host.paths.everything %}
	call {{ everything }};
{%- else if host.paths.looks_up_prefixes() %}
	if (prefixes.hasprefix({{ host.number }} + req.url + "/")) {
		call prefixes.subroutine(select=LONGEST);
	}
{%- endif %}
{%- if let Some(fallback) = host.fallback %}
	# The next wider host of the listener.
	call {{ fallback }};
{%- endif %}
}
{%- endfor %}
