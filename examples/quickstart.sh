#!/usr/bin/env bash
# Starts the demo backends and `copal run examples/quickstart`, and says what to try. Ctrl-C stops everything.
# Usage: examples/quickstart.sh DIRECTORY_WITH_THE_BINARIES
set -euo pipefail
cd "$(dirname "$0")/.."

bin=${1:-target/release}
offset=${PORT_OFFSET:-8000}
admin_port=${ADMIN_PORT:-9000}
port=$((80 + offset))
https=$((443 + offset))
folder=examples/quickstart
backends=(catalogue=9101 cart=9102 web-v1=9103 web-v2=9104)
pids=()

fail() {
    echo "quickstart: $*" >&2
    exit 1
}

answers() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

stop() {
    trap - EXIT
    if ((${#pids[@]})); then kill "${pids[@]}" 2>/dev/null || true; fi
}
trap stop EXIT
# copal hears Ctrl-C itself and drains; this script waits for it.
trap : INT
trap '[[ -z ${copal:-} ]] || kill -TERM "$copal"' TERM

for taken in "$port" "$https" "$admin_port"; do
    if answers "$taken"; then
        fail "port $taken is in use by another program; stop it, or choose: make run PORT_OFFSET=8100 ADMIN_PORT=9001"
    fi
done

# Signed by itself, and renewed with each start. Its key is for nobody else's eyes.
certificate() {
    local place
    place=$(mktemp -d)
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost \
        -addext 'subjectAltName=DNS:*.localhost,DNS:localhost' \
        -keyout "$place/tls.key" -out "$place/tls.crt" 2>/dev/null || fail "openssl cannot make a certificate"
    (
        umask 077
        cat >"$place/certificate.yaml" <<YAML
apiVersion: v1
kind: Secret
metadata:
  name: localhost
type: kubernetes.io/tls
data:
  tls.crt: $(base64 -w0 "$place/tls.crt")
  tls.key: $(base64 -w0 "$place/tls.key")
YAML
    )
    mv "$place/certificate.yaml" "$folder/certificate.yaml"
    rm -r "$place"
}
certificate

"$bin/examples/demo-backend" "${backends[@]}" &
pids+=($!)
for backend in "${backends[@]}"; do
    for attempt in {1..100}; do
        if ! kill -0 "${pids[0]}" 2>/dev/null; then fail "the demo backends do not run; see the message above"; fi
        if answers "${backend#*=}"; then break; fi
        if ((attempt == 100)); then fail "demo backend $backend does not answer"; fi
        sleep 0.1
    done
done

try() {
    cat <<TEXT

Varnish serves $folder on port $port. In another terminal, try:

  # routing by path, exact path and header: see "backend" in the answers
  curl -s http://shop.localhost:$port/
  curl -s http://shop.localhost:$port/cart/42
  curl -s http://shop.localhost:$port/cart/total
  curl -s -H 'x-preview: yes' http://shop.localhost:$port/

  # a redirect, and an answer that comes from the cache (look at "age")
  curl -si http://old.localhost:$port/shop/shoes | head -n 3
  curl -si http://shop.localhost:$port/cached/shoes | grep -i '^age'

  # the same by HTTPS and HTTP/2, with a certificate that is signed by itself
  curl -sk https://shop.localhost:$https/cart/42

  # a canary: one of ten goes to version 2
  for i in \$(seq 100); do curl -s http://canary.localhost:$port/ | grep backend; done | sort | uniq -c

  # a live edit: now it is about one of three (the log here tells how fast), and back
  sed -i 's/weight: 10\$/weight: 50/' $folder/canary.yaml
  sed -i 's/weight: 50\$/weight: 10/' $folder/canary.yaml

  # why a request goes where it goes
  $bin/copal explain $folder http://shop.localhost:$port/cart/42 --port-offset $offset

Ctrl-C stops everything.

TEXT
}

announce() {
    for _ in {1..600}; do
        if curl -sf -o /dev/null "http://127.0.0.1:$admin_port/readyz"; then
            try
            return
        fi
        sleep 0.1
    done
    echo "quickstart: Varnish does not serve after a minute; see the log above" >&2
}
announce &
pids+=($!)

status=0
"$bin/copal" run "$folder" --state .copal --port-offset "$offset" --admin "127.0.0.1:$admin_port" &
copal=$!
# A signal interrupts `wait`; copal ends when it has drained.
while kill -0 "$copal" 2>/dev/null; do
    status=0
    wait "$copal" || status=$?
done
exit "$status"
