# What a kubelet asks for on cgroup v2: limits, classes of service and pods' cgroups in the kernel's files.
. "$GUEST/cases.sh"
. "$GUEST/unit-tests.sh"
run_tests_of tests cri_cgroups
