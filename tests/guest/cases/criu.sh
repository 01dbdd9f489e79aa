# Checkpoints, with Debian's own CRIU on the kernel that it knows: on cgroup v2, of containers by themselves and of a pod's.
. "$GUEST/cases.sh"
. "$GUEST/unit-tests.sh"
criu check || fail "CRIU does not work here"
run_tests_of tests oci_checkpoint cri_checkpoint
