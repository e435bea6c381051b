#!/usr/bin/env bash
# crds.sh: installs the Gateway API's CRDs, of the version that conformance/go.mod names, out of the Go module itself.
# Idempotent. In a cluster that is not ours, CRDs that are there are left as they are.
set -euo pipefail
. "$(dirname "$0")/config.sh"
channel=experimental   # retries are only there
gateway_crd=crd/httproutes.gateway.networking.k8s.io
version=$(cd "$HERE/conformance" && go list -m -f '{{.Version}}' sigs.k8s.io/gateway-api)

installed() {
  k get "$gateway_crd" --ignore-not-found -o json |
    jq -r '.metadata.annotations | "\(.["gateway.networking.k8s.io/bundle-version"]) \(.["gateway.networking.k8s.io/channel"])"'
}
install_crds() {
  local folder files=() file
  folder=$(cd "$HERE/conformance" && go mod download sigs.k8s.io/gateway-api && go list -m -f '{{.Dir}}' sigs.k8s.io/gateway-api)/config/crd/$channel
  for file in "$folder"/gateway*.yaml; do files+=(-f "$file"); done
  # The policy that comes along forbids to replace one channel by the other.
  k delete validatingadmissionpolicybinding,validatingadmissionpolicy --ignore-not-found safe-upgrades.gateway.networking.k8s.io >/dev/null
  # Server-side: the schemas are too large for the last-applied annotation.
  k apply --server-side --force-conflicts "${files[@]}" >/dev/null
  k wait --for=condition=Established crd --all --timeout=30s >/dev/null
}
have=$(installed)
[ "$have" != "$version $channel" ] || exit 0
if [ -n "$EXTERNAL" ] && [ -n "$have" ]; then
  echo "crds.sh: the cluster has CRDs $have, the suite is $version; they are left alone" >&2
  exit 0
fi
step "CRDs $version, $channel" install_crds
