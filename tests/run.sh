#!/bin/bash
# run.sh [ARG...] - the tests of the workspace, with the images they need and a look at what they leave behind.
# ARGs go to the test runner (cargo nextest if there is one, else cargo test). Its summary is the last line.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
started=1
fixtures/registry.sh url >/dev/null 2>&1 && started=0
RCTR_TEST_REGISTRY=$(fixtures/registry.sh start)
export RCTR_TEST_REGISTRY
before=$(mktemp) after=$(mktemp)
cleanup() {
    trap - EXIT
    [ $started = 0 ] || fixtures/registry.sh stop
    rm -f "$before" "$after"
}
trap cleanup EXIT
python3 fixtures/images/build.py --registry "$RCTR_TEST_REGISTRY" >&2

cargo build --locked --workspace --bins
cargo test --locked --workspace --doc --quiet >&2
if cargo nextest --version >/dev/null 2>&1; then
    runner=(cargo nextest run --locked --workspace ${CI:+--profile ci})
else
    runner=(cargo test --locked --workspace --lib --bins --tests)
fi
tests/leftovers.sh > "$before"
status=0
"${runner[@]}" "$@" || status=$?
# Links go a moment after their namespace; what is still there after that is a leak.
for ((n = 0; n < 30; n++)); do
    tests/leftovers.sh > "$after"
    diff -q "$before" "$after" >/dev/null && break
    sleep 0.1
done
if left=$(diff "$before" "$after" | grep '^>'); then
    printf 'left behind by the tests:\n%s\n' "$left" >&2
    status=1
fi
exit $status
