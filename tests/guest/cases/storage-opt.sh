# --storage-opt size=: a project quota of ext4. Without one the flag is refused.
. "$GUEST/cases.sh"
rctr pull -q busybox
if rctr run --rm --network none --storage-opt size=20m busybox true 2>/dev/null; then fail "a limit that nobody keeps"; fi
truncate -s 300M /quota.img
mkfs.ext4 -q -O quota,project -E quotatype=prjquota /quota.img
mkdir -p /quota
mount -o loop,prjquota /quota.img /quota
quota() { rctr --root /quota/root "$@"; }
quota pull -q busybox
same "$(quota run --rm --network none --storage-opt size=20m busybox sh -c 'dd if=/dev/zero of=/big bs=1M count=15 2>/dev/null && wc -c < /big')" 15728640
has "$(quota run --rm --network none --storage-opt size=20m busybox sh -c 'dd if=/dev/zero of=/big bs=1M count=40 2>&1 || :')" "Disk quota exceeded"
# Each has its own.
quota create --name one --network none --storage-opt size=20m busybox sh -c 'dd if=/dev/zero of=/big bs=1M count=15' >/dev/null
quota create --name two --network none --storage-opt size=20m busybox sh -c 'dd if=/dev/zero of=/big bs=1M count=15' >/dev/null
quota start -a one 2>/dev/null
quota start -a two 2>/dev/null
same "$(quota inspect --format '{{.HostConfig.StorageOpt.size}}' one)" 20971520
quota rm one two >/dev/null
umount /quota
