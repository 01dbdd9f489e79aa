# On cgroup v2 device rules are a BPF program: what is not allowed cannot be opened, even by a node of one's own.
. "$GUEST/cases.sh"
rctr pull -q busybox
id=$(rctr run -d --name dev --network none busybox sleep 100000)
inside() { rctr exec dev sh -c "$*" 2>&1; }
inside 'mknod /d b 254 0 && mknod /k c 1 2'
has "$(inside 'cat /d || :')" "not permitted"
has "$(inside 'cat /k || :')" "not permitted"
for device in null zero full random urandom tty; do
    inside "test -c /dev/$device"
done
inside 'echo x > /dev/null && head -c 4 /dev/zero | wc -c && head -c 4 /dev/urandom | wc -c' | grep -c '^4$' | grep -qx 2
inside 'ls /dev/pts/ptmx /dev/shm /dev/mqueue' >/dev/null
rctr rm -f dev >/dev/null

# --privileged: every device.
major=$(stat -c %Hr /dev/vda) minor=$(stat -c %Lr /dev/vda)
same "$(rctr run --rm --network none --privileged busybox sh -c "mknod /d b $major $minor && head -c 16 /d | wc -c")" 16
