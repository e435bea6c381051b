#!/usr/bin/env bash
# conformance.sh [TEST | SUITE FLAGS]: runs the official Gateway API conformance suite, profiles GATEWAY-HTTP and
# GATEWAY-TLS, against the running cluster: all of it, with a report in reports/, or one TEST. Prints failed tests with
# what they said, and a summary; all of the suite's output is in target/e2e/logs/conformance.log. Fails if any test failed
# or was skipped.
#
#   conformance.sh                                    conformance.sh HTTPRouteSimpleSameNamespace
#   conformance.sh --list                             every test and the features that it needs
set -euo pipefail
. "$(dirname "$0")/config.sh"
log=$SAVED_LOGS/conformance.log
mkdir -p "$SAVED_LOGS" "$REPORTS"
if [ "${1:-}" = --list ]; then
  "$HERE/build.sh" conformance >&2
  LIST_TESTS=1 exec "$BIN/conformance.test" -test.run '^TestList$' -test.v
fi

features=$(grep -v '^#' "$HERE/features" | grep . | paste -sd,)
version=$(sed -n 's/^version = "\(.*\)"/v\1/p' "$ROOT/Cargo.toml" | head -n 1)
suite=$(cd "$HERE/conformance" && go list -m -f '{{.Version}}' sigs.k8s.io/gateway-api/conformance)
# cluster's addresses: the lb program gives out .200 when it is asked to, as it is in its pool, and leaves a Service that
# asks for one outside the pool pending.
usable=${E2E_USABLE_ADDRESS:-${LB_POOL%.*}.200} unusable=${E2E_UNUSABLE_ADDRESS:-198.51.100.1}
report=$TARGET/conformance-report.yaml
flags=(-report-output "$report")
single=
case ${1:-} in
  '' | -*) flags+=("$@") ;;
  *) flags+=(-run-test "$1"); single=yes ;;   # the report has all other tests as skipped
esac

rm -f "$report"
start=$(now_ms) code=0
export KUBECONFIG=$KUBECONFIG_ADMIN
in_node "$BIN/conformance.test" -test.run '^TestConformance$' -test.v -test.timeout 60m \
  -gateway-class "$CLASS" -conformance-profiles GATEWAY-HTTP,GATEWAY-TLS -supported-features "$features" \
  -organization Copal -project copal -url https://github.com/copal-gateway/copal -version "$version" \
  -contact https://github.com/copal-gateway/copal/issues \
  -usable-address "$usable" -unusable-address "$unusable" "${flags[@]}" > "$log" 2>&1 || code=$?
seconds=$(( ($(now_ms) - start) / 1000 ))

# What each failed test said, at most 25 lines each: output of tests that run at the same time is mixed, so each line
# belongs to the test that the last `=== ` line named. Only tests that have no failed sub-test are shown. A line that
# differs from the one before only in numbers, as when the suite polls, takes its place.
awk '
  /^=== (RUN|CONT|NAME|PAUSE)/ { name = $3; next }
  /^ *--- FAIL: / { failed[$3] = 1; order[++n] = $3; next }
  /^ *--- / || /^(PASS|FAIL|ok )/ { next }
  {
    kind = $0; gsub(/[0-9]+/, "", kind)
    if (name in latest && latest[name] != kind) said[name] = said[name] pending[name] "\n"
    latest[name] = kind; pending[name] = $0
  }
  END {
    for (f in failed) { parent = f; while (sub(/\/[^\/]*$/, "", parent)) inner[parent] = 1 }
    for (i = 1; i <= n; i++) {
      f = order[i]
      if (f in inner) continue
      print "FAILED " f
      lines = split(said[f] pending[f] "\n", line, "\n")
      for (j = (lines > 25 ? lines - 25 : 1); j < lines; j++) print "    " substr(line[j], 1, 400)
    }
  }' "$log"

# statistics: PROFILE SECTION PASSED FAILED SKIPPED, a line for each section of the report. A profile's name comes last in it.
statistics() {
  awk '
    /^- ?core:|^  core:/ { section = "core" } /^- ?extended:|^  extended:/ { section = "extended" }
    $1 ~ /^(Passed|Failed|Skipped):$/ { count[section, $1] = $2; seen[section] = 1 }
    /^  name: / {
      for (s in seen) print $2, s, count[s, "Passed:"] + 0, count[s, "Failed:"] + 0, count[s, "Skipped:"] + 0
      split("", count); split("", seen)
    }' "$report" | sort
}
passed=0 failed=0 skipped=0
if [ -n "$single" ] && [ -e "$report" ]; then
  passed=$(grep -c '^    --- PASS: TestConformance/' "$log" || true)
  failed=$(grep -c '^    --- FAIL: TestConformance/' "$log" || true)
elif [ -e "$report" ]; then
  while read -r profile section p f s; do
    printf '%-13s %-9s %3d passed, %d failed, %d skipped\n' "$profile" "$section" "$p" "$f" "$s"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
  done < <(statistics)
  if [ $# = 0 ]; then cp "$report" "$REPORTS/gateway-http-$suite.yaml"; fi
else
  echo "no report: the suite did not get to its end; see $log"
  grep -q -- '--- FAIL: ' "$log" || tail -n 15 "$log" | cut -c1-400 | sed 's/^/    /'
  passed=$(grep -c '^    --- PASS: TestConformance/' "$log" || true)
  failed=$(grep -c '^    --- FAIL: TestConformance/' "$log" || true)
  [ "$failed" != 0 ] || failed=1
fi
echo "suite $suite, $seconds s: $passed passed, $failed failed, $skipped skipped"
[ "$code" = 0 ] && [ "$failed" = 0 ] && [ "$skipped" = 0 ] && [ "$passed" != 0 ]
