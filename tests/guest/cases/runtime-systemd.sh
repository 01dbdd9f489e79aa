# needs: systemd
# The runtime's own tests of cgroups where systemd makes them: slices of pods, limits of running containers.
. "$GUEST/cases.sh"
. "$GUEST/unit-tests.sh"
run_tests limits pods
