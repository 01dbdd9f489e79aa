# AppArmor, which the guest's kernel enforces: profiles of containers, builds and pods; the default one is loaded when
# it is needed, and containers run without it where nothing can load it, unless it was asked for.
. "$GUEST/cases.sh"
. "$GUEST/unit-tests.sh"
same "$(cat /sys/module/apparmor/parameters/enabled)" Y
loaded() { grep -q '^rctr-default ' /sys/kernel/security/apparmor/profiles; }
current() { rctr run --rm --network none "$@" busybox cat /proc/self/attr/current; }
if loaded; then fail "the default profile is loaded before it is needed"; fi
rctr pull -q busybox
same "$(current)" "rctr-default (enforce)"
run_tests_of tests apparmor

# What unloads all profiles does not keep the next container from having it.
loaded || fail "the default profile is gone"
printf rctr-default > /sys/kernel/security/apparmor/.remove
same "$(current)" "rctr-default (enforce)"
# Under the profile, too, a killed monitor takes its container along.
rctr run -d --name kept --network none busybox sleep 100000 >/dev/null
pid=$(rctr inspect --format '{{.State.Pid}}' kept) id=$(rctr inspect --format '{{.Id}}' kept)
has "$(cat /proc/$pid/attr/current)" rctr-default
kill -KILL "$(sed 's/.*"monitor":{"pid":\([0-9]*\).*/\1/' "$RCTR_STATE/$id/state.json")"
until_true 30 sh -c "! kill -0 $pid"
rctr rm -f kept >/dev/null
printf rctr-default > /sys/kernel/security/apparmor/.remove
mv /usr/sbin/apparmor_parser /usr/sbin/apparmor_parser.away
same "$(current)" unconfined
has "$(rctr info 2>&1)" "No apparmor_parser"
if current --security-opt apparmor=rctr-default; then fail "a profile that cannot be had"; fi
