#!/usr/bin/env bash
# prepare.sh: installs, builds, boots the cluster and deploys Copal; what is done already takes a second or two. With
# E2E_KUBECONFIG it only builds the test programs and deploys.
set -euo pipefail
. "$(dirname "$0")/config.sh"
if [ -n "$EXTERNAL" ]; then
  "$HERE/build.sh" kubectl conformance
  # The tests of its commands run it here.
  [ -n "${E2E_BINARIES:-}" ] || (cd "$ROOT" && cargo build --release --bin copal)
else
  need_root
  "$HERE/install.sh"
  "$HERE/build.sh"
  "$HERE/up.sh"
  "$HERE/images.sh"
fi
"$HERE/deploy.sh"
