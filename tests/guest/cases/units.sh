# needs: systemd
# The shipped units are accepted by systemd, and rctr.service does its work at boot without a complaint.
. "$GUEST/cases.sh"
same "$(cat /proc/1/comm)" systemd
prefix=/opt/rctr units=/run/systemd/system
mkdir -p $prefix/bin "$prefix/libexec/rctr"
cp "$RCTR_BIN" $prefix/bin/rctr
cp "$(dirname "$RCTR_BIN")/rctr-monitor" $prefix/libexec/rctr/
for unit in rctr.service rctr@.service rctr-restart.service; do
    sed "s|@PREFIX@|$prefix|" "$GUEST/../../dist/$unit" > $units/$unit
done
same "$(systemd-analyze verify --man=no $units/rctr.service $units/rctr-restart.service 2>&1)" "" "systemd-analyze verify"
mkdir -p $units/rctr.service.d $units/rctr@.service.d $units/rctr-restart.service.d
for unit in rctr.service rctr@.service rctr-restart.service; do
    printf '[Service]\nEnvironment=RCTR_ROOT=%s RCTR_STATE=%s RCTR_CONFIG=%s\n' "$RCTR_ROOT" "$RCTR_STATE" "$RCTR_CONFIG" \
        > $units/$unit.d/case.conf
done
systemctl daemon-reload
systemctl start rctr.service
same "$(systemctl is-active rctr.service)" active

# A container as a service: its end is the unit's end, and `systemctl stop` stops it.
rctr create --name svc --network none busybox sleep 100000
systemctl start rctr@svc.service
until_true 60 sh -c '[ "$("$RCTR_BIN" inspect --format "{{.State.Status}}" svc)" = running ]'
systemctl stop rctr@svc.service
same "$(rctr inspect --format '{{.State.Status}}' svc)" exited

# Who has a restart policy is started by its unit, and outlives it: only a shutdown stops containers.
rctr run -d --name again --network none --restart unless-stopped busybox sleep 100000
pid=$(rctr inspect --format '{{.State.Pid}}' again)
for state in "$RCTR_STATE"/*/state.json; do
    kill -KILL "$(sed 's/.*"monitor":{"pid":\([0-9]*\).*/\1/' "$state")" || :
done
until_true 30 sh -c "! kill -0 $pid"
rm -rf "$RCTR_STATE"
systemctl start rctr-restart.service
same "$(rctr inspect --format '{{.State.Status}}' again)" running
systemctl stop rctr-restart.service
same "$(rctr inspect --format '{{.State.Status}}' again)" running
rctr rm -f again
