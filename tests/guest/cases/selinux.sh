# needs: selinux
# SELinux, which the guest's kernel has: labels of containers, of pods, of builds' steps, and of what is mounted for them.
# The policy is the smallest one in which they are labels, and keeps from a container only to read files, and to connect to
# sockets, that are not labelled for it. Until the last tests it is not enforced.
. "$GUEST/cases.sh"
. "$GUEST/unit-tests.sh"
policy=$(mktemp -d)
classes='security process system capability filesystem file dir fd lnk_file chr_file blk_file sock_file fifo_file
    unix_stream_socket'
# In the kernel's order.
sids='kernel security unlabeled fs file file_labels init any_socket port netif netmsg node igmp_packet icmp_socket
    tcp_socket sysctl_modprobe sysctl sysctl_fs sysctl_kernel sysctl_net sysctl_net_unix sysctl_vm sysctl_dev kmod policy
    scmp_packet devnull'
{
    for class in $classes; do echo "class $class"; done
    for sid in $sids; do echo "sid $sid"; done
    for class in $classes; do
        case $class in
            process) echo "class $class { transition dyntransition }";;
            unix_stream_socket) echo "class $class { connectto }";;
            *) echo "class $class { read }";;
        esac
    done
    echo 'sensitivity s0; dominance { s0 }'
    for ((category = 0; category < 1024; category++)); do echo "category c$category;"; done
    cat <<'POLICY'
level s0:c0.c1023;
mlsconstrain process dyntransition (t1 == host_t);
mlsconstrain file read (t1 != container_t or h1 dom h2);
mlsconstrain unix_stream_socket connectto (t1 != container_t or (t2 == container_t and h1 dom h2));
policycap nnp_nosuid_transition;
attribute any;
type host_t, any;
type container_t, any;
type spc_t, any;
type container_file_t, any;
type container_ro_file_t, any;
type bin_t, any;
POLICY
    echo "allow { host_t spc_t } any : { $classes } *;"
    echo "allow container_t any : { ${classes/ file / } } *;"
    echo "allow container_t { container_t container_file_t container_ro_file_t bin_t } : file *;"
    cat <<'POLICY'
role system_r;
role system_r types { host_t container_t spc_t };
user system_u roles system_r level s0 range s0 - s0:c0.c1023;
POLICY
    for sid in $sids; do echo "sid $sid system_u:system_r:host_t:s0"; done
    for kind in ext4 overlay; do echo "fs_use_xattr $kind system_u:object_r:container_file_t:s0;"; done
    for kind in tmpfs devpts mqueue; do echo "fs_use_trans $kind system_u:object_r:container_file_t:s0;"; done
    echo 'genfscon proc / system_u:object_r:container_file_t:s0'
} > "$policy/conf"
checkpolicy -M -U allow -c 33 -o "$policy/binary" "$policy/conf" >/dev/null
mount -t selinuxfs selinuxfs /sys/fs/selinux

# Without a policy there are no labels.
oci() { "$(dirname "$RCTR_BIN")/rctr-oci" --root "$RCTR_STATE/oci" "$@"; }
bundle=$(mktemp -d)
mkdir -p "$bundle/rootfs/bin"
cp /bin/busybox "$bundle/rootfs/bin/"
for program in sh cat sleep; do ln -s busybox "$bundle/rootfs/bin/$program"; done
ln -s usr/lib "$bundle/rootfs/lib"
ln -s usr/lib64 "$bundle/rootfs/lib64"
oci spec --bundle "$bundle"
files=system_u:object_r:container_file_t:s0:c1,c2 processes=system_u:system_r:container_t:s0:c1,c2
python3 - "$bundle/config.json" "$processes" "$files" <<'PYTHON'
import json, sys
file, process, mount = sys.argv[1:]
config = json.load(open(file))
config["process"].update(terminal=False, selinuxLabel=process,
    args=["sh", "-c", "cat /proc/self/attr/current; echo; cat /proc/mounts; sleep 100000"])
config["linux"]["mountLabel"] = mount
config["mounts"].append({"destination": "/usr", "source": "/usr", "type": "bind", "options": ["rbind", "ro"]})
json.dump(config, open(file, "w"))
PYTHON
if oci run --bundle "$bundle" none </dev/null >/dev/null 2>"$bundle/said"; then fail "a label without a policy"; fi
has "$(cat "$bundle/said")" "process.selinuxLabel: SELinux is disabled"

dd if="$policy/binary" of=/sys/fs/selinux/load bs=10M status=none
has "$(tr -d '\0' < /proc/self/attr/current)" host_t
# As a policy has what is installed: it is the first process of some.
python3 -c 'import os, sys; os.setxattr(sys.argv[1], "security.selinux", b"system_u:object_r:bin_t:s0")' \
    "$(dirname "$RCTR_BIN")/rctr-monitor"
mkdir -p /etc/selinux/guest/contexts
echo SELINUXTYPE=guest > /etc/selinux/config
cat > /etc/selinux/guest/contexts/lxc_contexts <<'CONTEXTS'
process = "system_u:system_r:container_t:s0"
file = "system_u:object_r:container_file_t:s0"
ro_file = "system_u:object_r:container_ro_file_t:s0"
CONTEXTS

oci run --detach --bundle "$bundle" one </dev/null >"$bundle/out" 2>"$bundle/said" || fail "$(cat "$bundle/said")"
until_true 30 grep -q /dev/shm "$bundle/out"
current() { "$@" cat /proc/self/attr/current | tr -d '\0'; }
said=$(tr -d '\0' < "$bundle/out")
same "${said%%$'\n'*}" "$processes"
for place in /dev /dev/pts /dev/shm; do
    has "$(grep " $place " <<< "$said")" "context=\"$files\""
done
same "$(current oci exec one)" "$processes"
# So are its keys: keyctl(KEYCTL_GET_SECURITY, KEY_SPEC_SESSION_KEYRING, …)
same "$(oci exec one /usr/bin/python3 -c 'import ctypes
label = ctypes.create_string_buffer(256)
ctypes.CDLL(None).syscall(250, 17, -3, label, 256)
print(label.value.decode())')" "$processes"
other=system_u:system_r:container_t:s0:c3
same "$(current oci exec --process-label $other one)" $other
if oci exec --process-label system_u:system_r:none_t:s0 one true 2>"$bundle/said"; then fail "a label that there is not"; fi
has "$(cat "$bundle/said")" "set the SELinux label system_u:system_r:none_t:s0: invalid argument"
pid=$(oci state one | sed -n 's/.*"pid": *\([0-9]*\).*/\1/p' | head -n 1)
same "$(python3 -c 'import os, sys; print(os.getxattr(sys.argv[1], "security.selinux").rstrip(b"\0").decode())' \
    "/proc/$pid/root/dev/mqueue")" "$files"
oci delete --force one

run_tests_of tests cri_selinux
run_tests_of tests selinux

echo 1 > /sys/fs/selinux/enforce
run_tests_of tests selinux cri_selinux
echo 0 > /sys/fs/selinux/enforce
