# needs: systemd
# rctr-oci --systemd-cgroup: a scope in the slice that the specification names, with its limits; and `rctr update` there.
. "$GUEST/cases.sh"
. "$GUEST/oci.sh"
scope=oci-one.scope
started() {
    same "$(systemctl is-active $scope)" active
    same "$(systemctl show -P Slice $scope)" a-b.slice
    same "$(systemctl show -P MemoryMax $scope)" 67108864
    same "$(systemctl show -P TasksMax $scope)" 30
    same "$(systemctl show -P CPUWeight $scope)" 59
    same "$(systemctl show -P CPUQuotaPerSecUSec $scope)" 500ms
    # systemd's own idea of the limits is the container's.
    systemctl daemon-reload
    is memory.max 67108864
    is cpu.max "50000 100000"
    is pids.max 30
}
updated() {
    systemctl daemon-reload
    is memory.max max
    has "$(cat "$cgroup/cpu.max")" "max "
    is pids.max max
}
started=started updated=updated
oci_life a-b.slice:oci:one /sys/fs/cgroup/a.slice/a-b.slice/$scope --systemd-cgroup
until_true 30 sh -c "! systemctl is-active -q $scope"

# A name that has just become free: the scope is a new one, which ends as the first did.
bundle=$(mktemp -d) state=$RCTR_STATE/oci
mkdir -p "$bundle/rootfs/bin"
cp /bin/busybox "$bundle/rootfs/bin/"
ln -s busybox "$bundle/rootfs/bin/true"
oci spec --bundle "$bundle"
sed -i 's/"terminal": true/"terminal": false/; s/"sh"/"true"/' "$bundle/config.json"
for _ in 1 2 3 4 5 6; do
    oci run --bundle "$bundle" again </dev/null || fail "again"
done
rm -rf "$bundle"
until_true 30 sh -c "! systemctl is-active -q rctr-oci-again.scope"
same "$(systemctl list-units --all --no-legend 'rctr-oci-*.scope' | grep -c . || :)" 0 "scopes left:"
same "$(systemctl list-units --all --no-legend 'oci-*.scope' | grep -c . || :)" 0 "scopes left:"
docker_update /sys/fs/cgroup/system.slice/rctr-ID.scope
