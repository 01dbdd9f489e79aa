# The runtime's own tests on cgroup v2 with all capabilities: pods, limits, mounts, user namespaces.
. "$GUEST/cases.sh"
deps=$(dirname "$RCTR_BIN")/deps
for name in pods limits mounts userns; do
    # The newest of each, with the monitor it was built with.
    test=$(find "$deps" "$deps/../../debug/deps" -maxdepth 1 -type f -name "$name-*" -perm -u+x ! -name '*.*' \
        -printf '%T@ %p\n' 2>/dev/null | sort -n | tail -n 1 | cut -d' ' -f2)
    [ -n "$test" ] || skip "the tests of rctr-runtime are not built: cargo test -p rctr-runtime --no-run"
    grep -q 'rctr-runtime\|rctr_runtime' "$test" || continue
    echo "--- $test"
    (cd "$GUEST/../../crates/runtime" && "$test" --test-threads 1) || fail "$name"
done
