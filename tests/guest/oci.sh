# Sourced by cases of rctr-oci on cgroup v2: the life of a container, and its limits in the cgroup's files.
# divided CGROUP COMMAND...: a container that has divided its cgroup, as systemd does in it, takes no process there itself any
# more: what COMMAND executes goes where its init is.
divided() {
    local cgroup=$1 pid
    shift
    mkdir "$cgroup/part"
    for pid in $(cat "$cgroup/cgroup.procs"); do echo "$pid" > "$cgroup/part/cgroup.procs"; done
    echo +pids > "$cgroup/cgroup.subtree_control"
    same "$("$@" cat /proc/self/cgroup)" 0::/part
    echo -pids > "$cgroup/cgroup.subtree_control"
    for pid in $(cat "$cgroup/part/cgroup.procs"); do echo "$pid" > "$cgroup/cgroup.procs"; done
    until_true 30 rmdir "$cgroup/part"
}

# oci_life CGROUPS_PATH CGROUP OPTION...: where the specification puts it, its directory, and words before each command.
oci_life() {
    local path=$1 cgroup=$2 bundle state status=0
    shift 2
    bundle=$(mktemp -d) state=$RCTR_STATE/oci
    oci() { "$(dirname "$RCTR_BIN")/rctr-oci" --root "$state" "${options[@]}" "$@"; }
    options=("$@")
    is() { same "$(cat "$cgroup/$1")" "$2" "$1 is"; }
    status_is() { has "$(oci state one)" "\"status\": \"$1\""; }

    mkdir -p "$bundle/rootfs/bin"
    cp /bin/busybox "$bundle/rootfs/bin/"
    for program in sh cat sleep mknod; do ln -s busybox "$bundle/rootfs/bin/$program"; done
    oci spec --bundle "$bundle"
    python3 - "$bundle/config.json" "$path" <<'PYTHON'
import json, sys
file, path = sys.argv[1:]
config = json.load(open(file))
config["process"].update(terminal=False, args=["sleep", "100000"])
config["process"]["capabilities"]["bounding"].append("CAP_MKNOD")
config["process"]["capabilities"]["permitted"].append("CAP_MKNOD")
config["process"]["capabilities"]["effective"].append("CAP_MKNOD")
config["root"]["readonly"] = False
config["linux"]["cgroupsPath"] = path
config["linux"]["resources"].update(
    memory={"limit": 64 << 20, "swap": 96 << 20, "reservation": 32 << 20},
    cpu={"quota": 50000, "period": 100000, "shares": 512, "cpus": "0"},
    pids={"limit": 30}, unified={"memory.high": str(60 << 20)})
json.dump(config, open(file, "w"))
PYTHON

    oci create --bundle "$bundle" --pid-file "$bundle/pid" one </dev/null >/dev/null 2>"$bundle/said" || fail "$(cat "$bundle/said")"
    status_is created
    has "$(cat "$cgroup/cgroup.procs")" "$(cat "$bundle/pid")"
    is memory.max 67108864
    is memory.swap.max 33554432
    is memory.low 33554432
    is memory.high 62914560
    is cpu.max "50000 100000"
    is cpu.weight 59
    is cpuset.cpus 0
    is pids.max 30
    oci start one
    status_is running
    [ -z "${started:-}" ] || "$started"

    same "$(oci exec one cat /proc/self/cgroup)" "0::/"
    # Its devices are its own: what is not allowed cannot be used, whoever makes the node.
    has "$(oci exec one sh -c 'mknod /k c 1 2; cat /k 2>&1 || :')" "not permitted"
    has "$(oci exec one sh -c 'cat /dev/zero | { read -r -n 1 x; echo read; }')" read
    oci exec --detach --pid-file "$bundle/second" one sleep 100000 </dev/null >/dev/null 2>&1
    has "$(cat "$cgroup/cgroup.procs")" "$(cat "$bundle/second")"
    has "$(oci ps one)" "$(cat "$bundle/second")"

    divided "$cgroup" oci exec one
    mkdir "$cgroup/other"
    same "$(oci exec --cgroup other one cat /proc/self/cgroup)" 0::/other
    until_true 30 rmdir "$cgroup/other"
    status=0
    oci exec --cgroup ../other one true 2>/dev/null || status=$?
    same $status 255 "a cgroup that is not the container's gives"
    status=0

    oci pause one
    status_is paused
    is cgroup.freeze 1
    has "$(cat "$cgroup/cgroup.events")" "frozen 1"
    oci resume one
    has "$(cat "$cgroup/cgroup.events")" "frozen 0"

    oci update --memory 128m --memory-swap 192m --memory-reservation 16m --cpu-quota 25000 --cpu-period 50000 --cpu-shares 2048 --pids-limit 40 one
    is memory.max 134217728
    is memory.swap.max 67108864
    is memory.low 16777216
    is cpu.max "25000 50000"
    is cpu.weight 174
    is pids.max 40
    # What is not named stays.
    oci update --pids-limit 41 one
    is pids.max 41
    is memory.max 134217728
    is cpu.max "25000 50000"
    echo '{"cpu": {"quota": -1}, "pids": {"limit": -1}, "unified": {"memory.high": "max"}}' | oci update -r - one
    # systemd sets the period of no quota back.
    has "$(cat "$cgroup/cpu.max")" "max "
    is pids.max max
    is memory.high max
    oci update --memory -1 --memory-swap -1 one
    is memory.max max
    is memory.swap.max max
    [ -z "${updated:-}" ] || "$updated"
    stats=$(oci events --stats one)
    has "$stats" '"pids":{"current":2'

    # A frozen one dies of SIGKILL at once, and its init takes the others along.
    oci pause one
    oci kill one KILL
    until_true 30 sh -c "! kill -0 $(cat "$bundle/pid")"
    status_is stopped
    until_true 30 sh -c "! kill -0 $(cat "$bundle/second")"
    oci delete one
    until_true 30 sh -c "[ ! -e $cgroup ]"
    same "$(oci list -q)" "" "containers left:"

    # In the foreground, with the memory it may not have.
    oci run --bundle "$bundle" --detach one </dev/null >/dev/null 2>&1
    if criu check >/dev/null 2>&1; then
        # It comes back in the same cgroup, or the same scope, with the limits of its specification.
        oci checkpoint --image-path "$bundle/saved" one || fail "$(tail -n 5 "$bundle/saved/dump.log")"
        oci restore --bundle "$bundle" --image-path "$bundle/saved" --pid-file "$bundle/pid" --detach one </dev/null >/dev/null \
            2>"$bundle/said" || fail "$(cat "$bundle/said"; tail -n 5 "$bundle/saved/restore.log")"
        status_is running
        has "$(cat "$cgroup/cgroup.procs")" "$(cat "$bundle/pid")"
        is memory.max 67108864
        is pids.max 30
    fi
    oci exec one sh -c 'exit 7' || status=$?
    same $status 7
    oci update --memory 16m --memory-swap 16m one
    status=0
    oci exec one sh -c 'x=a; while :; do x=$x$x; done' 2>/dev/null || status=$?
    same $status 137 "what takes more memory than there is ends with"
    oci delete --force one
    until_true 30 sh -c "[ ! -e $cgroup ]"
    rm -rf "$bundle"
}

# Limits of a running container of rctr's, changed. docker_update CGROUP: CGROUP with ID in the place of the container's id.
docker_update() {
    local id
    rctr pull -q busybox
    id=$(rctr run -d --name limited --network none -m 64m --cpus 0.5 --pids-limit 20 busybox sleep 100000)
    cgroup=${1/ID/$id}
    is() { same "$(cat "$cgroup/$1")" "$2" "$1 is"; }
    is memory.max 67108864
    is cpu.max "50000 100000"
    same "$(rctr update -m 128m --memory-swap 160m --memory-reservation 32m --cpus 0.8 -c 512 --cpuset-cpus 0 --pids-limit 30 limited)" limited
    is memory.max 134217728
    is memory.swap.max 33554432
    is memory.low 33554432
    is cpu.max "80000 100000"
    is cpu.weight 59
    is cpuset.cpus 0
    is pids.max 30
    same "$(rctr inspect --format '{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}' limited)" "134217728 800000000 30"
    rctr update --pids-limit -1 --memory-swap -1 limited >/dev/null
    is pids.max max
    is memory.swap.max max
    is memory.max 134217728
    # Less than is used would kill it.
    rctr exec -d limited dd if=/dev/zero of=/dev/null bs=50M count=100000000
    until_true 60 sh -c "[ \$(cat $cgroup/memory.current) -gt 50000000 ]"
    rctr update -m 8m limited 2>/dev/null && fail "a limit below what is used"
    is memory.max 134217728
    rctr exec -d limited sleep 100000
    divided "$cgroup" rctr exec limited
    # They outlive a restart.
    rctr restart -t 0 limited >/dev/null
    is memory.max 134217728
    is cpu.max "80000 100000"
    rctr rm -f limited >/dev/null
    until_true 30 sh -c "[ ! -e $cgroup ]"
}
