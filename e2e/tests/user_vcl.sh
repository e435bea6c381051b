# VCL of the user's own is merged; one that does not compile leaves the last good one serving, and the Gateway says
# where it is wrong.

# The place in the generated VCL that the test uses: before a response is delivered.
hook=vcl_deliver

vcl() { # TEXT
  apply <<YAML
apiVersion: v1
kind: ConfigMap
metadata: {name: mine}
data:
  main.vcl: |
    # The user's own.
    sub $hook {
      $1
    }
YAML
}
vcl 'set resp.http.X-Mine = "first";'
apply <<'YAML'
apiVersion: copal.dev/v1alpha1
kind: GatewayClassParameters
metadata: {name: mine}
spec: {vcl: {configMapRef: {name: mine}}}
YAML
echo_backend echo
gateway edge mine
route echo edge mine.example echo
address=$(programmed_gateway edge)
mine() { get "$address" mine.example / -o /dev/null -D - | tr -d '\r' | sed -n 's/^[Xx]-[Mm]ine: //p'; }

say "merged"
wait_for 30 "header of the user's VCL" is first mine
before=$(starts_of edge)

say "changed"
vcl 'set resp.http.X-Mine = "second";'
wait_for 30 "header of the changed VCL" is second mine

say "broken: the last good one serves on"
vcl 'set resp.http.X-Mine = no_such_thing;'
named() { # the third line of the ConfigMap's main.vcl is the broken one
  condition gateway/edge Programmed | grep -q '^False' && condition gateway/edge Programmed | grep -q 'mine.*[Ll]ine 3'
}
wait_for 60 "the Gateway names ConfigMap and line" named || fail "Programmed: $(condition gateway/edge Programmed)"
say "$(condition gateway/edge Programmed)"
[ "$(mine)" = second ] || fail "the last good VCL does not serve: $(mine)"
route late edge late.example echo
sleep 2
[ "$(mine)" = second ] || fail "the last good VCL does not serve after a change: $(mine)"

say "mended"
vcl 'set resp.http.X-Mine = "third";'
wait_for 30 "header of the mended VCL" is third mine
wait_for 60 "Programmed again" programmed edge
wait_for 30 "what changed in between is served" served "$address" late.example /
[ "$before" = "$(starts_of edge)" ] || fail "pods were restarted"
