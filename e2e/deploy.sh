#!/usr/bin/env bash
# deploy.sh: installs the Gateway API's CRDs and Copal (`config/default`, with the images of this checkout), makes the
# GatewayClass, and waits until the operator runs. Idempotent; new images roll out.
set -euo pipefail
. "$(dirname "$0")/config.sh"
. "$HERE/image-names.sh"
if [ -n "$EXTERNAL" ]; then
  : "${E2E_OPERATOR_IMAGE:?names the image of the operator}" "${E2E_DATA_PLANE_IMAGE:?names the image of data planes}"
fi
operator=deployment/copal-operator

# The manifests as they are, but for the images: the operator's own, and what it gives to data planes.
manifests() {
  "$BIN/kubectl" kustomize "$ROOT/config/default" | k create --dry-run=client --validate=false -f - -o json |
    jq --arg operator "$(operator_image)" --arg data_plane "$(data_plane_image)" '
      def images: .image = $operator
        | .env = ([.env[]? | select(.name != "COPAL_DATA_PLANE_IMAGE")] + [{name: "COPAL_DATA_PLANE_IMAGE", value: $data_plane}]);
      if .kind == "List" then .items[] else . end
      | if .kind == "Deployment" and .metadata.name == "copal-operator" then .spec.template.spec.containers |= map(images) else . end'
}
apply() { # server-side: schemas of CRDs are too large for the last-applied annotation
  manifests > "$TARGET/deploy.json" && k apply --server-side --force-conflicts -f "$TARGET/deploy.json" >/dev/null
  k apply --server-side -f "$HERE/manifests/gatewayclass.yaml" >/dev/null
}
rolled_out() { k -n "$SYSTEM_NAMESPACE" rollout status "$operator" --timeout=120s >/dev/null || explain; }
accepted() { k wait --for=condition=Accepted "gatewayclass/$CLASS" --timeout=60s >/dev/null || explain; }
explain() {
  k -n "$SYSTEM_NAMESPACE" get pods -o wide >&2
  k -n "$SYSTEM_NAMESPACE" get events --sort-by=.lastTimestamp 2>/dev/null | tail -n 10 >&2
  k -n "$SYSTEM_NAMESPACE" logs "$operator" --all-containers --tail=20 >&2
  return 1
}

"$HERE/crds.sh"
[ -e "$ROOT/config/default/kustomization.yaml" ] || die "no config/default"
step "apply config/default" apply
step "operator runs" rolled_out
step "GatewayClass $CLASS accepted" accepted
