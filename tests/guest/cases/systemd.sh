# needs: systemd
# The systemd driver: a scope for each container with its limits, gone when the container is; also chosen by itself.
. "$GUEST/cases.sh"
rctr pull -q busybox
has "$(rctr info)" "Cgroup Driver: systemd"
for config in auto systemd; do
    sed -i '/^\[cgroup\]/,$d' "$RCTR_CONFIG"
    printf '[cgroup]\ndriver = "%s"\n' $config >> "$RCTR_CONFIG"
    id=$(rctr run -d --name one --network none -m 64m --memory-swap 64m --cpus 0.5 --pids-limit 30 busybox sleep 100000)
    scope=rctr-$id.scope cgroup=/sys/fs/cgroup/system.slice/rctr-$id.scope
    same "$(systemctl is-active "$scope")" active
    same "$(cat "$cgroup/memory.max")" 67108864
    same "$(cat "$cgroup/memory.swap.max")" 0
    same "$(cat "$cgroup/cpu.max")" "50000 100000"
    same "$(cat "$cgroup/pids.max")" 30
    same "$(systemctl show -P MemoryMax "$scope")" 67108864
    same "$(systemctl show -P TasksMax "$scope")" 30
    has "$(cat "$cgroup/cgroup.procs")" "$(rctr inspect --format '{{.State.Pid}}' one)"
    has "$(rctr exec one sh -c 'mknod /k c 1 2; cat /k 2>&1 || :')" "not permitted"
    # A reload makes systemd write its own idea of the limits.
    systemctl daemon-reload
    same "$(cat "$cgroup/memory.max")" 67108864 "after daemon-reload"
    has "$(rctr exec one sh -c 'cat /k 2>&1 || :')" "not permitted"
    rctr stop -t 0 one >/dev/null
    until_true 30 sh -c "[ ! -e $cgroup ]"
    rctr start one >/dev/null
    same "$(systemctl is-active "$scope")" active "after a restart:"
    rctr rm -f one >/dev/null
    until_true 30 sh -c "! systemctl is-active -q $scope"
    [ ! -e "$cgroup" ] || fail "the cgroup stays"
done
# One process, which two of ours have to make.
id=$(rctr run -d --name single --network none --pids-limit 1 busybox sleep 100000)
same "$(systemctl show -P TasksMax "rctr-$id.scope")" 1
same "$(rctr exec single cat /sys/fs/cgroup/pids.max)" 1
rctr rm -f single >/dev/null
status=0
rctr run --name oom --network none -m 32m --memory-swap 32m busybox dd if=/dev/zero of=/dev/null bs=200M count=1 2>/dev/null || status=$?
same $status 137
same "$(rctr inspect --format '{{.State.OOMKilled}}' oom)" true
same "$(systemctl list-units --all --no-legend 'rctr-*.scope' | grep -c . || :)" 0 "scopes left:"
