# Sourced by cases that run tests of crates/runtime in the guest, as they were built on the host.
run_tests() {
    local debug name test
    debug=$(cd "$(dirname "$RCTR_BIN")/../debug" 2>/dev/null && pwd) || skip "no tests of rctr-runtime are built"
    for name in "$@"; do
        test=
        for file in $(ls -t "$debug/deps/$name"-* 2>/dev/null); do
            # Other crates have tests of the same name.
            if [ -x "$file" ] && grep -q crates/runtime/tests "$file"; then test=$file; break; fi
        done
        [ -n "$test" ] || skip "the tests of rctr-runtime are not built: cargo test -p rctr-runtime --no-run"
        echo "--- $test"
        (cd "$GUEST/../../crates/runtime" && "$test" --test-threads 1) || fail "$name"
    done
}
