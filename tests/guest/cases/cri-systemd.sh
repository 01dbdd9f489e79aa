# needs: systemd
# The same where systemd makes the cgroups, and where we do beside it.
. "$GUEST/cases.sh"
. "$GUEST/unit-tests.sh"
run_tests_of tests cri_cgroups
