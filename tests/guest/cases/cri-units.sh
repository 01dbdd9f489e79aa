# needs: systemd
# The units of rctr cri: pods outlive them, the socket starts the service.
. "$GUEST/cases.sh"
. "$GUEST/unit-tests.sh"
run_tests_of tests cri_units
