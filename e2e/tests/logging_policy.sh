# A VarnishLoggingPolicy on one of two Gateways: its lines and its status, changed, deleted; no pod restarts.

echo_backend echo
for name in one two; do
  gateway $name
  route $name $name "$name.example" echo
done
one=$(programmed_gateway one) two=$(programmed_gateway two)
for name in one two; do
  wait_for 30 "$name.example served" served "${!name}" $name.example /
done
before=$(starts_of one; starts_of two)

# lines GATEWAY TEXT: the JSON lines of its pods' logs that have a text.
lines() { logs_of "$1" | grep -F "$2" | jq -c . 2>/dev/null || true; }
logged() { served "$one" one.example "/$1" && nonempty lines one "$1"; }
policy() { # FORMAT: as YAML
  apply <<YAML
apiVersion: copal.dev/v1alpha1
kind: VarnishLoggingPolicy
metadata: {name: log}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: one}]
  format: $1
YAML
}
accepted() { # for the generation that there is
  kn get varnishloggingpolicy/log -o json | jq -e '.metadata.generation as $g | .status.ancestors[]
    | select(.ancestorRef.name == "one") | .conditions[]
    | select(.type == "Accepted" and .status == "True" and .observedGeneration == $g)' >/dev/null
}

say "no policy, no lines"
served "$one" one.example /nobody-logs-this
sleep 2
[ -z "$(lines one nobody-logs-this)" ] || fail "logged without a policy"

say "attached: JSON lines of one, not of two"
policy '{json: {}}'
wait_for 30 "policy accepted" accepted || fail "$(kn get varnishloggingpolicy/log -o jsonpath='{.status}')"
wait_for 30 "lines of the attached policy" logged attached
served "$two" two.example /attached-two
sleep 2
[ -z "$(lines two attached-two)" ] || fail "the other Gateway logs too"
say "$(lines one attached | tail -n 1)"
lines one attached | tail -n 1 | jq -e 'type == "object"' >/dev/null || fail "not a JSON object"
not_json=$(logs_of one | jq -rR '. as $line | try (fromjson | empty) catch $line')
[ -z "$not_json" ] || fail "lines that are not JSON: $(head -n 3 <<<"$not_json")"

say "changed: varnishncsa's format"
policy '{ncsa: "changed %m %U"}'
wait_for 30 "changed policy accepted" accepted
changed() { served "$one" one.example /ncsa && nonempty lines one "changed GET /ncsa"; }
wait_for 30 "lines of the changed policy" changed
say "$(lines one "changed GET /ncsa" | tail -n 1)"

say "deleted: no more lines"
kn delete varnishloggingpolicy/log >/dev/null
silent() {
  local text=silent-$RANDOM$RANDOM
  served "$one" one.example "/$text"
  sleep 2
  [ -z "$(lines one "$text")" ]
}
wait_for 30 "no more lines" silent

[ "$before" = "$(starts_of one; starts_of two)" ] || fail "pods are not those of before: $before / $(starts_of one; starts_of two)"
