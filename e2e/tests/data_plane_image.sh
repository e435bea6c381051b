# The data plane's image: as the pods of a Gateway are confined, varnishd starts, tcc compiles VCL, and the modules that
# generated VCL imports are there. Then every VCL of the golden tests is compiled by the image's varnishd.

apply <<YAML
apiVersion: v1
kind: Pod
metadata: {name: varnish}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 1
  securityContext: {runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, fsGroup: 65532, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: varnish
    image: $DATA_PLANE_IMAGE
    command: [varnishd, -F, -j, none, -n, /run/copal/n, -a, ":8080", -a, "http-80=/run/copal/80.sock", -f, "", -s, "malloc,16m",
              -p, feature=+http2, -p, vcc_err_unref=off, -p, max_vcl=1000,
              -p, "cc_command=tcc -w -c -o %o.o %s && ld -shared -z noexecstack -o %o %o.o && rm -f %o.o"]
    securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
    volumeMounts: [{name: state, mountPath: /run/copal}]
  volumes: [{name: state, emptyDir: {medium: Memory, sizeLimit: 256Mi}}]
YAML
kn wait --for=condition=Ready pod/varnish --timeout=60s >/dev/null || fail "$(kn describe pod varnish; kn logs varnish)"
inside() { kn exec -i varnish -- "$@"; }

say "$(inside varnishd -V 2>&1 | head -n 1), $(inside sh -c 'id; grep CapEff /proc/self/status' | tr '\n\t' '  ')"
[ -z "$(inside sh -c 'command -v gcc cc clang' || true)" ] || fail "the image has a C compiler besides tcc"
! inside touch /x 2>/dev/null || fail "the root file system can be written to"

say "modules"
inside sh -c 'cat > /run/copal/modules.vcl' <<'VCL'
vcl 4.1;
import directors; import header; import selector; import std; import var;
backend b { .host = "127.0.0.1"; .port = "9"; }
sub vcl_init {
  new d = directors.round_robin(); d.add_backend(b);
  new s = selector.set(); s.add("x.example", string = "yes");
}
sub vcl_recv {
  if (s.match(req.http.Host)) { return (synth(200, std.toupper("hello ") + var.get("x"))); }
  set req.backend_hint = d.backend();
}
sub vcl_deliver { header.append(resp.http.X, "y"); }
VCL
inside varnishadm -n /run/copal/n vcl.load modules /run/copal/modules.vcl
inside varnishadm -n /run/copal/n vcl.use modules
inside varnishadm -n /run/copal/n start
address=$(field pod/varnish '{.status.podIP}')
hello() { in_node curl -sS -i --max-time 2 -H 'Host: x.example' "http://$address:8080/" | grep -q '200 HELLO'; }
wait_for 10 "the VCL answers" hello

say "VCL of the golden tests"
tar -C "$ROOT/tests/golden" -c $(cd "$ROOT/tests/golden" && ls -- */*.vcl) | inside tar -C /run/copal -x
# Shards first, under the labels that the root hands over to. Roots are discarded, shards stay loaded: hence max_vcl above.
inside sh -s > "$SCRATCH/golden" <<'SH'
cd /run/copal
adm() { varnishadm -n /run/copal/n "$@"; }
ok=0 bad=0 n=0
for golden in */root.vcl; do
  golden=${golden%/root.vcl} n=$((n + 1)) wrong=
  for file in "$golden"/*.vcl; do
    name=$(basename "$file" .vcl)
    [ "$name" != root ] || continue
    adm vcl.load "g$n-$name" "/run/copal/$file" > out 2>&1 && adm vcl.label "copal_$name" "g$n-$name" >/dev/null || wrong="$wrong $file: $(cat out)"
  done
  adm vcl.load "g$n-root" "/run/copal/$golden/root.vcl" > out 2>&1 || wrong="$wrong $golden/root.vcl: $(cat out)"
  adm vcl.discard "g$n-root" >/dev/null 2>&1
  if [ -z "$wrong" ]; then ok=$((ok + 1)); else bad=$((bad + 1)); echo "$wrong"; fi
done
echo "$ok of $((ok + bad)) goldens compile"
SH
cat "$SCRATCH/golden"
tail -n 1 "$SCRATCH/golden" | grep -q '^\([1-9][0-9]*\) of \1 ' || fail "generated VCL does not compile"
