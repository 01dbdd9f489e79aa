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
printf rctr-default > /sys/kernel/security/apparmor/.remove
mv /usr/sbin/apparmor_parser /usr/sbin/apparmor_parser.away
same "$(current)" unconfined
has "$(rctr info 2>&1)" "No apparmor_parser"
if current --security-opt apparmor=rctr-default; then fail "a profile that cannot be had"; fi
