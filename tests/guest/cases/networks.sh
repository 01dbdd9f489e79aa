# Networks on the wire of another interface: macvlan, ipvlan and VLANs, which not every kernel has.
. "$GUEST/cases.sh"
. "$GUEST/unit-tests.sh"
for module in macvlan ipvlan 8021q dummy; do modprobe $module; done
run_tests_of tests network_wire
