# Processes and what was on tmpfs are gone, the store is there: containers are found again, told of, started.
. "$GUEST/cases.sh"
rctr pull -q busybox
rctr run -d --name up -p 8098:80 busybox sh -c 'echo kept > /kept; exec httpd -f -h /' >/dev/null
rctr run -d --rm --name brief --network none busybox sleep 100000 >/dev/null
rctr run --name done --network none busybox sh -c 'exit 3' || same $? 3
rctr run -d --name always --restart always --network none busybox sleep 100000 >/dev/null
rctr run -d --name unless --restart unless-stopped --network none busybox sleep 100000 >/dev/null
rctr run -d --name left --restart unless-stopped --network none busybox sleep 100000 >/dev/null
rctr stop -t 0 left >/dev/null
until_true 30 curl -fsS http://127.0.0.1:8098/kept
# As a power failure does it: at once, with nobody asked.
for state in "$RCTR_STATE"/*/state.json; do
    kill -KILL "$(sed 's/.*"monitor":{"pid":\([0-9]*\).*/\1/' "$state")"
done
until_true 30 sh -c '! grep -q . /sys/fs/cgroup/rctr/*/cgroup.procs'
rm -rf "$RCTR_STATE"
ip link del rctrg0
nft delete table inet rctr

list=$(rctr ps -a --format '{{.Names}} {{.Status}}')
has "$list" "up Exited (255)"
has "$list" "done Exited (3)"
case $list in *brief*) fail "a --rm container survived: $list";; esac
has "$(rctr inspect --format '{{.State.Error}}' up)" restarted
rctr start up >/dev/null
until_true 30 curl -fsS http://127.0.0.1:8098/kept
same "$(ls /sys/fs/cgroup/rctr | grep -cE '^[0-9a-f]{64}$')" 1 "cgroups:"

# Who has a restart policy is started by the unit's command, unless somebody had stopped it.
rctr internal start-after-boot
same "$(rctr ps --format '{{.Names}}' | sort | tr '\n' ' ')" "always unless up "
same "$(rctr inspect --format '{{.State.Status}}' left)" exited
