# The clock is set an hour forth and an hour back under containers with policies and probes, and under commands that wait.
. "$GUEST/cases.sh"
# Seconds that no clock changes; bash's own follow the clock.
up() { cut -d. -f1 /proc/uptime; }
await() { # await SECONDS COMMAND...
    local end=$(($(up) + $1)); shift
    until "$@" >/dev/null 2>&1; do
        [ "$(up)" -lt $end ] || fail "still not: $*"
        sleep 0.2
    done
}
restarts() { rctr inspect --format '{{.RestartCount}}' crash; }
word() { rctr inspect --format "$1" "$2"; }
rctr pull -q busybox
rctr run -d --name crash --network none --restart always busybox sh -c 'sleep 1; exit 3' >/dev/null
rctr run -d --name well --network none --health-cmd 'test ! -e /ill' --health-interval 1s --health-retries 1 \
    busybox sleep 100000 >/dev/null
rctr run -d --name talk --network none busybox sh -c 'n=0; while :; do n=$((n + 1)); echo line $n; sleep 1; done' >/dev/null
await 60 sh -c '"$RCTR_BIN" logs talk | grep -q "line 3"'
for jump in 3600 -3600; do
    rctr run -d --name deaf --network none --stop-timeout 100 busybox sh -c 'trap "" TERM; echo set; while :; do sleep 1; done' >/dev/null
    await 60 sh -c '"$RCTR_BIN" logs deaf | grep -q set'
    began=$(up) count=$(restarts)
    timeout -k 5 120 "$RCTR_BIN" events --until "$(($(date +%s) + 9))" > "$TMPDIR/events" & events=$!
    timeout -k 5 120 "$RCTR_BIN" stop -t 6 deaf > /dev/null & stop=$!
    sleep 3
    date -s "@$(($(date +%s) + jump))" >/dev/null
    wait $stop || fail "stop, after $jump"
    took=$(($(up) - began))
    [ $took -ge 6 ] && [ $took -lt 60 ] || fail "stop -t 6 took $took s, after $jump"
    same "$(word '{{.State.ExitCode}}' deaf)" 137
    wait $events || fail "events --until, after $jump"
    took=$(($(up) - began))
    [ $took -ge 8 ] && [ $took -lt 60 ] || fail "events --until took $took s, after $jump"
    rctr rm deaf >/dev/null

    # Nobody starts it wildly, or never again: it waits 0.1 s, 0.2 s, … between runs of a second.
    [ $(($(restarts) - count)) -le $took ] || fail "started $(($(restarts) - count)) times in $took s"
    count=$(restarts)
    await 120 sh -c "[ \"\$($RCTR_BIN inspect --format '{{.RestartCount}}' crash)\" -gt $count ]"
    # Probes go on, and tell of changes.
    rctr exec well touch /ill
    await 60 sh -c '[ "$("$RCTR_BIN" inspect --format "{{.State.Health.Status}}" well)" = unhealthy ]'
    rctr exec well rm /ill
    await 60 sh -c '[ "$("$RCTR_BIN" inspect --format "{{.State.Health.Status}}" well)" = healthy ]'
    # What is written now is found by the time it has now, and there is no lack of it.
    sleep 2
    since=$(date +%s)
    await 60 sh -c "[ \$($RCTR_BIN logs --since $since talk | wc -l) -ge 2 ]"
    rctr ps --format '{{.Names}} {{.Status}}' | grep -q 'talk Up' || fail "$(rctr ps)"
    rctr system check
done
# How long it ran counts, not what the clock says: after more than ten seconds it waits 0.1 s again.
rctr rm -f crash >/dev/null
rctr run -d --name crash --network none --restart always busybox sh -c 'sleep 12; exit 3' >/dev/null
await 60 sh -c '[ "$("$RCTR_BIN" inspect --format "{{.State.Status}}" crash)" = running ]'
sleep 5
date -s "@$(($(date +%s) - 3600))" >/dev/null
await 90 sh -c "[ \"\$($RCTR_BIN inspect --format '{{.RestartCount}}' crash)\" = 1 ]"
date -s "@$(($(date +%s) + 3600))" >/dev/null
ran=$(rctr events --since 0 --until 1s --filter container=crash --filter event=die --format '{{.Actor.Attributes.execDuration}}' | tail -n 1)
[ "$ran" -ge 12 ] && [ "$ran" -lt 90 ] || fail "it ran for $ran s"
