#!/bin/bash
# In the guest: a registry over the host's pushed images, then the cases, each with a time limit and its output
# shown only when it fails. Everything here is about 30 times slower than outside.
set -uo pipefail
here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
top=$(cd "$here/../.." && pwd)
export TMPDIR=${TMPDIR:-/var/tmp} GUEST=$here REGISTRY_LIFETIME=3600
registry=$TMPDIR/registry
mkdir -p "$registry"
ln -sfn "$RCTR_TEST_CACHE/registry/storage" "$registry/storage"
RCTR_TEST_REGISTRY=$("$top/fixtures/registry.sh" start "$registry") || echo '# no registry in the guest'
export RCTR_TEST_REGISTRY

for case in "$@"; do
    name=$(basename "$case" .sh)
    from=$SECONDS status=0
    timeout -k 10 "${CASE_LIMIT:-480}" bash "$case" > "$TMPDIR/out" 2>&1 </dev/null || status=$?
    case $status in
        0) echo "ok - $name ($((SECONDS - from)) s)";;
        77) echo "ok - $name # SKIP $(tail -n 1 "$TMPDIR/out")";;
        *) echo "not ok - $name (status $status, $((SECONDS - from)) s)"; tail -n 60 "$TMPDIR/out" | sed 's/^/# /';;
    esac
done
"$top/fixtures/registry.sh" stop "$registry"
