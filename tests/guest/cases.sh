# Sourced by every case: an rctr of its own, and words to say what is expected.
# A case fails by `fail` or by any command that fails outside a condition (set -e).
set -euo pipefail
name=$(basename "$0" .sh)
export RCTR_ROOT=/var/lib/rctr/$name RCTR_STATE=/run/rctr-$name RCTR_CONFIG=/run/rctr-$name.toml
mkdir -p "$RCTR_ROOT" "$RCTR_STATE"
cat > "$RCTR_CONFIG" <<TOML
[registry."docker.io"]
mirrors = ["${RCTR_TEST_REGISTRY:-}"]
[network]
bridge = "rctrg0"
subnet = "10.215.0.0/24"
TOML
rctr() { "$RCTR_BIN" "$@"; }
fail() { echo "FAILED: $*" >&2; exit 1; }
skip() { echo "$*"; exit 77; }
same() { [ "$1" = "$2" ] || fail "${3:-expected} $2, got $1"; }
has() { case $1 in *"$2"*) ;; *) fail "no '$2' in: $1";; esac; }
# until_true SECONDS COMMAND...: awaits a condition; the limit is generous, the guest is slow.
until_true() {
    local end=$((SECONDS + $1)); shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || fail "still not: $*"
        sleep 0.2
    done
}
tidy() {
    local status=$?
    set +e
    trap - EXIT
    [ $status = 0 ] || [ $status = 77 ] || { echo "--- ps -a"; rctr ps -a; }
    rctr ps -aq 2>/dev/null | while read -r id; do rctr rm -f "$id" >/dev/null; done
    exit $status
}
trap tidy EXIT
