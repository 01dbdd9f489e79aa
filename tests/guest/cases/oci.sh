# rctr-oci on cgroup v2, making cgroups itself; and limits that `rctr update` changes.
. "$GUEST/cases.sh"
. "$GUEST/oci.sh"
oci_life /oci/one /sys/fs/cgroup/oci/one
rmdir /sys/fs/cgroup/oci
docker_update /sys/fs/cgroup/rctr/ID
