# The guest itself is what the other cases count on, and rctr starts in it.
. "$GUEST/cases.sh"
same "$(stat -f -c %T /sys/fs/cgroup)" cgroup2fs
for controller in cpu cpuset io memory pids; do
    has " $(cat /sys/fs/cgroup/cgroup.subtree_control) " " $controller "
done
same "$(awk '/^CapEff/ {print $2}' /proc/self/status | tr -d 0)" 1ffffffffff "capabilities"
curl -fsS "$RCTR_TEST_REGISTRY/v2/library/busybox/tags/list" | grep -q latest
has "$(rctr --version)" rctr
