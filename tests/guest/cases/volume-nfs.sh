# A volume on an NFS server: mounted while a container uses it, by the server's address and by its name.
. "$GUEST/cases.sh"
modprobe nfsd
modprobe nfsv4
shared=/var/tmp/shared
mkdir -p $shared/below
mount -t nfsd nfsd /proc/fs/nfsd
exportfs -o rw,fsid=0,no_root_squash,no_subtree_check,insecure "*:$shared"
rpc.mountd --no-nfs-version 3
rpc.nfsd --no-nfs-version 3 1
# Nobody has anything to claim from before.
echo Y > /proc/fs/nfsd/v4_end_grace

rctr pull -q busybox
rctr volume create --opt type=nfs --opt o=addr=127.0.0.1,rw,vers=4.2 --opt device=:/ whole
rctr volume create --opt type=nfs4 --opt o=addr=localhost,ro --opt device=:/below part
rctr run --rm --network none -v whole:/data busybox sh -c 'echo hello > /data/below/file'
same "$(cat $shared/below/file)" hello
same "$(rctr run --rm --network none -v part:/data:ro busybox cat /data/file)" hello
has "$(rctr run --rm --network none -v whole:/data busybox cat /proc/mounts)" ":/ /data nfs4 rw"
if rctr run --rm --network none -v part:/data busybox touch /data/new 2>/dev/null; then fail "written to what is read-only"; fi
# Two containers, and nothing on the host.
rctr run -d --name reader --network none -v whole:/data busybox sh -c 'until [ -e /data/end ]; do sleep 0.1; done'
if grep -q ' nfs4 ' /proc/mounts; then fail "the host sees the mount"; fi
rctr run --rm --network none -v whole:/data busybox touch /data/end
same "$(rctr wait reader)" 0
rctr volume create --opt type=nfs --opt o=addr=nowhere.invalid --opt device=:/ lost
has "$(rctr run --rm --network none -v lost:/data busybox true 2>&1 || :)" "error resolving passed in network volume address"
rctr rm reader
rctr volume rm whole part lost
same "$(cat $shared/below/file)" hello "the server's file after volume rm"
