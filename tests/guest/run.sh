#!/bin/bash
# run.sh [--systemd] [CASE...] - the guest suite: cgroup v2, full capabilities, all on the already built rctr.
#
# Boots one guest (see vm) and runs cases/*.sh, or those named, inside it, one after the other. A case is a bash
# script that sources cases.sh there; a case that needs systemd, selinux or no-ipv6 says so in its first
# lines (`# needs: systemd`), and such cases get a boot of their own. Prints TAP; the status is 0 when every case passed.
# RCTR_BIN names the binary (default: the newest of target/*/debug/rctr and target/*/release/rctr).
set -euo pipefail
here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
top=$(cd "$here/../.." && pwd)
cd "$top"

only='' systemd_only=0
while [ $# -gt 0 ]; do
    case $1 in --systemd) systemd_only=1;; *) only+=" $(basename "$1" .sh)";; esac
    shift
done
rctr=${RCTR_BIN:-$(ls -t target/*/debug/rctr target/*/release/rctr 2>/dev/null | head -n 1 || :)}
[ -x "$rctr" ] || { echo "run.sh: no rctr binary: build it first (make, or cargo build --bins)" >&2; exit 2; }
rctr=$(readlink -f "$rctr")

plain=() systemd=() selinux=() no_ipv6=()
for case in "$here"/cases/*.sh; do
    name=$(basename "$case" .sh)

    [ -z "$only" ] || [[ " $only " == *" $name "* ]] || continue
    case $(head -n 5 "$case" | sed -n 's/^# needs: //p') in
        systemd) systemd+=("$case");;
        selinux) selinux+=("$case");;
        no-ipv6) no_ipv6+=("$case");;
        *) plain+=("$case");;
    esac
done
[ $systemd_only = 0 ] || plain=() selinux=() no_ipv6=()
total=$((${#plain[@]} + ${#systemd[@]} + ${#selinux[@]} + ${#no_ipv6[@]}))
[ $total -gt 0 ] || { echo "run.sh: no such case:$only" >&2; exit 2; }

# The images, pushed on the host; the guest reads the registry's storage through its read-only root.
export RCTR_TEST_CACHE=${RCTR_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rctr-fixtures}
was_running=1
"$top/fixtures/registry.sh" url >/dev/null 2>&1 || was_running=0
python3 "$top/fixtures/images/build.py" --registry "$("$top/fixtures/registry.sh" start)" >&2
[ $was_running = 1 ] || "$top/fixtures/registry.sh" stop

report=$(mktemp)
trap 'rm -f "$report"' EXIT
boot() { # [VM OPTION...] -- CASE...
    local options=()
    while [ "$1" != -- ]; do options+=("$1"); shift; done
    shift
    [ $# -gt 0 ] || return 0
    local start=$SECONDS status=0
    "$here/vm" "${options[@]}" -t $((300 + 240 * $#)) -m 3072 -e RCTR_BIN="$rctr" -e RCTR_TEST_CACHE \
        -- bash "$here/inside.sh" "$@" | tee -a "$report" || status=$?
    echo "# guest ${options[*]:-plain}: $((SECONDS - start)) s, status $status"
}
echo "1..$total"
boot -- "${plain[@]}"
boot --systemd -- "${systemd[@]}"
# Instead of AppArmor: a kernel has one of them.
boot -a "security=selinux selinux=1 enforcing=0" -- "${selinux[@]}"
boot -a ipv6.disable=1 -- "${no_ipv6[@]}"
passed=$(grep -c '^ok ' "$report" || :) failed=$(grep -c '^not ok ' "$report" || :)
missing=$((total - passed - failed))
echo "# guest suite: $total cases, $passed passed, $failed failed, $missing not run"
[ "$passed" = $total ]
