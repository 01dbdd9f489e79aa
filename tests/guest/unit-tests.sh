# Sourced by cases that run test programs in the guest, as they were built on the host.
# run_tests NAME...: of crates/runtime. run_tests_of DIRECTORY NAME...: of the package there. ONLY names one test.
run_tests() { run_tests_of crates/runtime "$@"; }
run_tests_of() {
    local package=$1 debug name test file
    shift
    debug=$(cd "$(dirname "$RCTR_BIN")/../debug" 2>/dev/null && pwd) || fail "no tests of $package are built"
    for name in "$@"; do
        test=
        for file in $(ls -t "$debug/deps/$name"-* 2>/dev/null); do
            # Other packages have tests of the same name.
            if [ -x "$file" ] && grep -q "$package/tests" "$file"; then test=$file; break; fi
        done
        [ -n "$test" ] || fail "the tests of $package are not built: cargo test --no-run --test $name"
        echo "--- $test"
        (cd "$GUEST/../../$package" && "$test" --test-threads 1 ${ONLY:+--exact "$ONLY"}) || fail "$name"
    done
}
