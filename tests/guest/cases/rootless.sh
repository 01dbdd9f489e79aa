# needs: systemd
# An ordinary user with a systemd of its own on cgroup v2: limits are kept in the part of the hierarchy that was delegated.
. "$GUEST/cases.sh"
user=plain
id $user >/dev/null 2>&1 || useradd -M -s /bin/bash $user
uid=$(id -u $user) home=/scratch/home/$user
usermod -d $home $user
for file in subuid subgid; do
    sed -i "/^$user:/d" /etc/$file
    echo "$user:300000:65536" >> /etc/$file
done
install -d -m 700 -o $user -g $user $home $home/.config $home/.config/rctr
printf '[registry."docker.io"]\nmirrors = ["%s"]\n' "$RCTR_TEST_REGISTRY" > $home/.config/rctr/config.toml
chmod 755 $home/.config $home/.config/rctr
chmod 666 /dev/net/tun
runtime=/run/user/$uid
as_user() {
    (cd $home && setpriv --reuid $uid --regid "$(id -g $user)" --init-groups env -i PATH="$PATH" HOME=$home USER=$user \
        XDG_RUNTIME_DIR=$runtime "$@")
}
mine() { as_user "$RCTR_BIN" "$@"; }
loginctl enable-linger $user
until_true 60 test -S $runtime/bus

mine pull -q busybox
info=$(mine info)
has "$info" "Cgroup Driver: systemd"
has "$info" rootless
manager=/sys/fs/cgroup/user.slice/user-$uid.slice/user@$uid.service
id=$(mine run -d --name one --network none -m 64m --memory-swap 64m --pids-limit 30 busybox sleep 100000)
scope=$manager/user.slice/rctr-$id.scope
same "$(cat "$scope/memory.max")" 67108864
same "$(cat "$scope/memory.swap.max")" 0
same "$(cat "$scope/pids.max")" 30
pid=$(mine inspect --format '{{.State.Pid}}' one)
has "$(cat "$scope/cgroup.procs")" "$pid"
same "$(stat -c %u /proc/$pid)" "$uid"
same "$(mine exec one cat /proc/self/cgroup)" 0::/
has "$(mine exec one cat /sys/fs/cgroup/memory.max)" 67108864
mine pause one >/dev/null
same "$(cat "$scope/cgroup.freeze")" 1
mine unpause one >/dev/null
mine stop -t 0 one >/dev/null
until_true 30 sh -c "[ ! -e $scope ]"
mine start one >/dev/null
same "$(cat "$scope/memory.max")" 67108864 "after a restart:"
mine rm -f one >/dev/null
same "$(mine run --rm --network none --pids-limit 1 busybox cat /sys/fs/cgroup/pids.max)" 1

status=0
mine run --name oom --network none -m 32m --memory-swap 32m busybox dd if=/dev/zero of=/dev/null bs=200M count=1 2>/dev/null || status=$?
same $status 137
same "$(mine inspect --format '{{.State.OOMKilled}}' oom)" true
mine rm oom >/dev/null
# The firewall and bridge are the user's own, in a kernel where root has none.
mine run -d --name web -p 8099:80 busybox httpd -f -h /etc >/dev/null 2>&1
until_true 30 curl -fsS http://127.0.0.1:8099/passwd
[ ! -e /sys/class/net/rctr0 ] || fail "the user's bridge is the machine's"
mine rm -f web >/dev/null
until_true 30 sh -c "! pgrep -u $uid rctr"
# rctr-oci by itself: limits are in the scope that the user's systemd makes; without that there is no cgroup, and that is said.
bundle=$home/bundle
as_user mkdir -p $bundle/rootfs/bin
cp /bin/busybox $bundle/rootfs/bin/
for program in sh cat sleep; do ln -s busybox $bundle/rootfs/bin/$program; done
oci() { as_user "$(dirname "$RCTR_BIN")/rctr-oci" "$@"; }
oci spec --rootless --bundle $bundle
python3 - $bundle/config.json <<'PYTHON'
import json, sys
config = json.load(open(sys.argv[1]))
config["process"].update(terminal=False, args=["sleep", "100000"])
config["linux"]["resources"] = {"memory": {"limit": 64 << 20}, "pids": {"limit": 30}}
json.dump(config, open(sys.argv[1], "w"))
PYTHON
oci --systemd-cgroup create --bundle $bundle one </dev/null >/dev/null 2>$home/said || fail "$(cat $home/said)"
oci start one
scope=$manager/user.slice/rctr-oci-one.scope
same "$(cat $scope/memory.max)" 67108864
same "$(cat $scope/pids.max)" 30
has "$(oci ps -f json one)" "$(cat $scope/cgroup.procs)"
same "$(oci exec one cat /proc/self/cgroup)" 0::/
oci pause one
same "$(cat $scope/cgroup.freeze)" 1
has "$(oci state one)" '"status": "paused"'
oci resume one
oci --systemd-cgroup update --pids-limit 20 one
same "$(cat $scope/pids.max)" 20
has "$(oci events --stats one)" '"pids":{"current":1'
oci delete --force one
until_true 30 sh -c "[ ! -e $scope ]"
oci create --bundle $bundle one </dev/null >/dev/null 2>$home/said || fail "$(cat $home/said)"
has "$(cat $home/said)" "are not kept"
oci start one
has "$(oci ps one)" "sleep 100000"
has "$(oci exec one cat /proc/self/uid_map)" "$uid"
status=0
oci pause one 2>$home/said || status=$?
same $status 1
has "$(cat $home/said)" "without a cgroup"
oci kill --all one KILL
until_true 30 sh -c "! pgrep -u $uid -x sleep"
oci delete one
status=0
oci --rootless=false run --bundle $bundle one 2>$home/said || status=$?
same $status 1
has "$(cat $home/said)" cgroup
same "$(oci list -q)" "" "containers left:"

# Without the user's systemd there are no limits, and that is said.
systemctl stop user@$uid.service
install -d -m 700 -o $user $runtime
warned=$(mine run --rm --network none -m 64m busybox echo fine 2>&1)
has "$warned" fine
has "$warned" "memory limit"
