# What Copal's images are called. Sourced after config.sh.
#
# In a cluster that is not ours, E2E_OPERATOR_IMAGE and E2E_DATA_PLANE_IMAGE name images that it can pull.

BINARIES=${E2E_BINARIES:-${CARGO_TARGET_DIR:-$ROOT/target}/release}

# A tag that changes with the content of the files given.
content_tag() { cat "$@" | sha256sum | cut -c1-12; }

operator_image() {
  echo "${E2E_OPERATOR_IMAGE:-docker.io/copal/operator:e2e-$(content_tag "$ROOT/images/operator.Containerfile" "$BINARIES/copal")}"
}
data_plane_image() {
  echo "${E2E_DATA_PLANE_IMAGE:-docker.io/copal/data-plane:e2e-$(content_tag "$ROOT/images/data-plane.Containerfile" "$BINARIES"/copal-re{loader,lay})}"
}
