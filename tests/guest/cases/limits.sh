# Limits on cgroup v2: in the cgroup's files, and felt by a workload.
. "$GUEST/cases.sh"
rctr pull -q busybox
id=$(rctr run -d --name lim --network none -m 64m --cpus 0.5 --cpu-shares 512 --pids-limit 20 --cpuset-cpus 0 busybox sleep 100000)
cgroup=/sys/fs/cgroup/rctr/$id
is() { same "$(cat "$cgroup/$1")" "$2" "$1 is"; }
is memory.max 67108864
is memory.swap.max 67108864
is cpu.max "50000 100000"
is cpu.weight 59
is pids.max 20
is cpuset.cpus 0
# The container sees its own cgroup as the root.
same "$(rctr exec lim cat /proc/self/cgroup)" "0::/"
rctr rm -f lim >/dev/null
[ ! -e "$cgroup" ] || fail "the cgroup stays"

# Without swap: the limit of swap is none at all.
id=$(rctr run -d --name noswap --network none -m 48m --memory-swap 48m busybox sleep 100000)
cgroup=/sys/fs/cgroup/rctr/$id
is memory.swap.max 0
rctr rm -f noswap >/dev/null

status=0
rctr run --name oom --network none -m 32m --memory-swap 32m busybox dd if=/dev/zero of=/dev/null bs=200M count=1 2>/dev/null || status=$?
same $status 137 "status of a container killed for memory"
same "$(rctr inspect --format '{{.State.OOMKilled}} {{.State.ExitCode}}' oom)" "true 137"
# A child that is killed is no end of the container, and is told all the same.
rctr run --name child --network none -m 32m --memory-swap 32m busybox sh -c 'dd if=/dev/zero of=/dev/null bs=200M count=1; exit 5' 2>/dev/null || status=$?
same $status 5
same "$(rctr inspect --format '{{.State.OOMKilled}}' child)" true
# Told when it comes, while the container runs.
rctr run -d --name lives --network none -m 32m --memory-swap 32m busybox sh -c 'dd if=/dev/zero of=/dev/null bs=200M count=1; sleep 100000' >/dev/null
until_true 60 sh -c '"$RCTR_BIN" events --since 0 --until 0s --filter container=lives --filter event=oom | grep -q oom'
same "$(rctr inspect --format '{{.State.Status}}' lives)" running
rctr rm -f lives >/dev/null
told() { rctr events --since 0 --until 0s --filter container="$1" --filter event=oom --filter event=die --format '{{.Action}}' | tr '\n' ' '; }
same "$(told lives)" "oom die "
same "$(told oom)" "oom die "
rctr run --name calm --network none -m 32m busybox true
same "$(rctr inspect --format '{{.State.OOMKilled}}' calm)" false

out=$(rctr run --rm --network none --pids-limit 6 busybox sh -c 'for n in 1 2 3 4 5 6 7 8; do sleep 9 & done; echo all' 2>&1 || :)
has "$out" "fork"
# One process, which two of ours have to make; whoever looks in is one more.
rctr run -d --name single --network none --pids-limit 1 busybox sleep 100000 >/dev/null
same "$(rctr exec single cat /sys/fs/cgroup/pids.max)" 1
same "$(rctr exec single cat /proc/self/cgroup)" "0::/"
rctr rm -f single >/dev/null
id=$(rctr run -d --name busy --network none --cpus 0.1 busybox sh -c 'while :; do :; done')
until_true 30 sh -c "[ \$(awk '/^nr_throttled/ {print \$2}' /sys/fs/cgroup/rctr/$id/cpu.stat) -gt 3 ]"
rctr rm -f busy >/dev/null
