# needs: systemd
# The journal as log driver: fields as Docker's, and the lines in `rctr logs` too.
. "$GUEST/cases.sh"
rctr pull -q busybox
id=$(rctr run -d --name web --network none --log-driver journald --log-opt tag='t/{{.Name}}' --log-opt env=TIER -e TIER=front \
    busybox sh -c 'echo hello; echo oops >&2; head -c 300000 /dev/zero | tr "\\0" x; echo; sleep 100000')
until_true 20 sh -c 'journalctl CONTAINER_NAME=web -o cat | grep -q hello'
has "$(journalctl CONTAINER_NAME=web PRIORITY=6 -o cat)" hello
has "$(journalctl CONTAINER_NAME=web PRIORITY=3 -o cat)" oops
one=$(journalctl CONTAINER_NAME=web PRIORITY=3 -o verbose)
for line in "CONTAINER_ID=${id:0:12}" "CONTAINER_ID_FULL=$id" CONTAINER_TAG=t/web SYSLOG_IDENTIFIER=t/web IMAGE_NAME=busybox TIER=front; do
    has "$one" "$line"
done
until_true 20 sh -c '[ "$(journalctl CONTAINER_NAME=web CONTAINER_PARTIAL_MESSAGE=true -o cat | wc -l)" = 18 ]'
has "$(rctr logs web 2>&1)" hello
same "$(rctr inspect --format '{{.HostConfig.LogConfig.Type}}' web)" journald
rctr rm -f web >/dev/null
