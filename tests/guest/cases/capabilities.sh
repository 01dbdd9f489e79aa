# With CAP_SYS_RESOURCE limits can be raised above what rctr itself has; nothing is clamped, nothing is warned of.
. "$GUEST/cases.sh"
rctr pull -q busybox
same "$(ulimit -Hn)" 524288
warned=$(rctr run --rm --network none --ulimit nofile=600000:700000 busybox sh -c 'ulimit -n; ulimit -Hn' 2>&1)
same "$warned" "600000
700000"
# The default set, and all of them.
same "$(rctr run --rm --network none busybox awk '/^CapEff/ {print $2}' /proc/self/status)" 00000000a80425fb
same "$(rctr run --rm --network none --privileged busybox awk '/^CapEff/ {print $2}' /proc/self/status)" 000001ffffffffff
same "$(rctr run --rm --network none --sysctl net.core.somaxconn=77 busybox cat /proc/sys/net/core/somaxconn)" 77
# A published port, in a kernel of its own.
rctr run -d --name web -p 8099:80 busybox httpd -f -h /etc >/dev/null
until_true 30 curl -fsS http://127.0.0.1:8099/passwd
rctr rm -f web >/dev/null
if curl -fsS -m 2 http://127.0.0.1:8099/passwd; then fail "the port stays open"; fi
same "$(rctr run --rm --network none --oom-score-adj -500 busybox cat /proc/self/oom_score_adj 2>&1)" -500
