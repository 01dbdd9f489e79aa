# needs: systemd
# The shipped units are accepted by systemd, and rctr.service does its work at boot without a complaint.
. "$GUEST/cases.sh"
same "$(cat /proc/1/comm)" systemd
prefix=/opt/rctr units=/run/systemd/system
mkdir -p $prefix/bin "$prefix/libexec/rctr"
cp "$RCTR_BIN" $prefix/bin/rctr
cp "$(dirname "$RCTR_BIN")/rctr-monitor" $prefix/libexec/rctr/
for unit in rctr.service rctr@.service; do
    sed "s|@PREFIX@|$prefix|" "$GUEST/../../dist/$unit" > $units/$unit
done
same "$(systemd-analyze verify --man=no $units/rctr.service 2>&1)" "" "systemd-analyze verify"
mkdir -p $units/rctr.service.d $units/rctr@.service.d
for unit in rctr.service rctr@.service; do
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
