# The runtime's own tests on cgroup v2 with all capabilities: pods, limits, mounts, user namespaces.
. "$GUEST/cases.sh"
. "$GUEST/unit-tests.sh"
run_tests pods limits mounts userns
