"""The rest of `docker`: looking after containers, networks, volumes, files. As scenarios.py."""

IMAGES = ("busybox", "nginx")

BEFORE = [
    ["network", "create", "plain"], ["network", "create", "--subnet", "{net}.0/24", "--gateway", "{net}.254", "--ip-range", "{net}.128/25", "--label", "a=1", "exact"],
    ["network", "create", "--internal", "-d", "bridge", "-o", "com.docker.network.driver.mtu=1400", "inside"],
    ["volume", "create", "data"], ["volume", "create", "--label", "a=1", "--label", "b", "labelled"], ["volume", "create", "-d", "local", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m", "memory"],
    ["volume", "create", "data"],
]

CONTAINERS = {
    "policy": ("up", "-d --restart on-failure:3 busybox sleep 1000"),
    "always": ("up", "-d --restart always busybox sleep 1000"),
    "unless": ("made", "--restart unless-stopped busybox sleep 1000"),
    "healthy": ("made", "--health-cmd 'test -e /ok' --health-interval 5s --health-timeout 2s --health-retries 4 --health-start-period 1s busybox sleep 1000"),
    "unchecked": ("made", "--no-healthcheck busybox sleep 1000"),
    "net": ("up", "-d --network plain --network-alias other --hostname host1 busybox sleep 1000"),
    "fixed": ("up", "-d --network exact --ip {net}.200 busybox sleep 1000"),
    "inner": ("up", "-d --network inside busybox sleep 1000"),
    "ipchost": ("up", "-d --ipc host --pid host --uts host busybox sleep 1000"),
    "ipcshare": ("up", "-d --ipc shareable busybox sleep 1000"),
    "ipcnone": ("up", "-d --ipc none busybox sleep 1000"),
    "devices": ("up", "-d --device /dev/null:/dev/other:rw --device /dev/zero --device-cgroup-rule 'c 1:* r' busybox sleep 1000"),
    "limits2": ("up", "-d --cpu-period 50000 --cpu-quota 25000 --memory 64m --memory-reservation 32m --memory-swappiness 10 --oom-score-adj 5 --blkio-weight 300 --pids-limit 20 --device-read-bps /dev/vda:1mb busybox sleep 1000"),
    "logs2": ("ends", "--log-driver json-file --log-opt max-size=1m --log-opt max-file=2 busybox echo logged"),
    "lognone": ("ends", "--log-driver none busybox echo unseen"),
    "annotated": ("made", "--cgroup-parent /some --domainname example.org --stop-timeout 4 --label-file {work}/labels busybox true"),
    "mounts2": ("up", "-d --mount type=volume,src=data,dst=/data,volume-nocopy  --mount type=bind,src={work}/dir,dst=/dir,readonly,bind-propagation=rprivate busybox sleep 1000"),
    "tmpfs2": ("up", "-d --mount type=tmpfs,dst=/tmp2,tmpfs-size=1m busybox sleep 1000"),
    "from": ("up", "-d --volumes-from mounts2:ro busybox sleep 1000"),
    "memvol": ("up", "-d -v memory:/mem busybox sleep 1000"),
    "changes": ("ends", "busybox sh -c 'echo 1 > /new; mkdir /dir; echo 2 > /dir/file; rm /etc/passwd; chmod 700 /root'"),
    "published": ("up", "-d -p {port}:80 -p 127.0.0.1::53/udp nginx"),
}

QUESTIONS = [
    *(["exec", name, "sh", "-c", script] for name, script in (
        ("net", "hostname; cat /etc/hosts | grep -v ip6; wget -q -O - http://nosuch 2>&1 | head -1"), ("net", "nslookup net >/dev/null && nslookup other > /dev/null && echo resolves"), ("fixed", "ip -4 -o addr show eth0 | cut -d' ' -f7"),
        ("inner", "ip route | wc -l; cat /sys/class/net/eth0/mtu"), ("ipcnone", "ls -d /dev/shm"), ("devices", "ls -l /dev/other /dev/zero | cut -c1-10; head -c 1 /dev/zero | wc -c"), ("mounts2", "ls /data /dir; touch /dir/x"),
        ("from", "ls /data; touch /data/x"), ("memvol", "df -k /mem | tail -1"), ("limits2", "cat /proc/self/oom_score_adj"))),
    *(["ps", "-a", "--format", "{{.Names}} {{.Networks}} {{.State}}", "--filter", f] for f in ("network=plain", "network=exact", "volume=data", "health=none", "health=starting", "status=running", "label=a")),
    ["port", "published"], ["port", "published", "80"], ["port", "published", "80/tcp"], ["port", "published", "81"], ["port", "net"], ["port", "nosuch"],
    ["diff", "changes"], ["diff", "nosuch"], ["top", "net", "-o", "comm"], ["top", "changes"], ["top", "nosuch"], ["logs", "logs2"], ["logs", "lognone"],
    ["network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}} {{.IPv6}} {{.Internal}} {{.Labels}}"], ["network", "ls"], ["network", "ls", "-q", "--no-trunc"], ["network", "ls", "--filter", "driver=bridge", "--format", "{{.Name}}"],
    *(["network", "ls", "--format", "{{.Name}}", "--filter", f] for f in ("name=pla", "label=a", "label=a=2", "type=custom", "type=builtin", "scope=local", "dangling=true", "nosuch=1", "bad")),
    ["network", "inspect", "plain"], ["network", "inspect", "exact"], ["network", "inspect", "inside"], ["network", "inspect", "none"], ["network", "inspect", "host"], ["network", "inspect", "nosuch"], ["network", "inspect", "-f", "{{range .IPAM.Config}}{{.Subnet}}{{end}}", "exact"],
    ["volume", "ls"], ["volume", "ls", "-q"], ["volume", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}} {{.Labels}}"], ["volume", "ls", "--format", "json"],
    *(["volume", "ls", "-q", "--filter", f] for f in ("name=dat", "label=a", "label=b", "driver=local", "dangling=true", "dangling=false", "nosuch=1")),
    ["volume", "inspect", "data"], ["volume", "inspect", "labelled"], ["volume", "inspect", "memory"], ["volume", "inspect", "nosuch"], ["volume", "inspect", "-f", "{{.Driver}} {{.Scope}} {{.Labels}}", "labelled"],
    ["stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "net"], ["stats", "--no-stream", "nosuch"], ["stats", "--no-stream", "--format", "{{.Name}} {{.CPUPerc}}", "changes"],
    ["inspect", "-f", "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}", "policy"], ["inspect", "-f", "{{json .Config.Healthcheck}}", "healthy"], ["inspect", "-s", "-f", "{{.SizeRw}}", "changes"],
    ["system", "df", "-v", "--format", "{{json .Volumes}}"], ["container", "ls", "-q", "--filter", "name=^/net$"],
]

BAD = [
    ["run", "--restart", "nosuch", "busybox"], ["run", "--restart", "on-failure:x", "busybox"], ["run", "--restart", "always:3", "busybox"], ["run", "--health-cmd", "true", "--no-healthcheck", "busybox"], ["run", "--health-interval", "1ms", "busybox"], ["run", "--health-retries", "-1", "busybox"],
    ["run", "--device", "/dev/nosuch", "busybox"], ["run", "--device", "/dev/null:/x:q", "busybox"], ["run", "--device-cgroup-rule", "x", "busybox"], ["run", "--device-read-bps", "x", "busybox"], ["run", "--device-read-bps", "/dev/nosuch:1mb", "busybox"], ["run", "--blkio-weight", "5", "busybox"], ["run", "--blkio-weight-device", "x", "busybox"],
    ["run", "--cpu-period", "1", "busybox"], ["run", "--cpu-quota", "1", "busybox"], ["run", "--cpus", "1", "--cpu-quota", "50000", "busybox"], ["run", "--memory-swappiness", "101", "busybox"], ["run", "--oom-score-adj", "2000", "busybox"], ["run", "--ipc", "nosuch", "busybox"], ["run", "--ipc", "container:nosuch", "busybox"], ["run", "--ipc", "container:net", "busybox", "true"],
    ["run", "--pid", "nosuch", "busybox"], ["run", "--pid", "container:nosuch", "busybox"], ["run", "--uts", "nosuch", "busybox"], ["run", "--userns", "nosuch", "busybox"], ["run", "--cgroupns", "nosuch", "busybox"], ["run", "--log-driver", "nosuch", "busybox"], ["run", "--log-opt", "nosuch=1", "busybox"], ["run", "--log-opt", "max-size=x", "busybox"],
    ["run", "--ip", "{net}.5", "busybox"], ["run", "--network", "exact", "--ip", "10.78.0.5", "busybox"], ["run", "--network", "exact", "--ip", "{net}.200", "busybox", "true"], ["run", "--network", "exact", "--ip", "x", "busybox"], ["run", "--mac-address", "x", "busybox"], ["run", "--network-alias", "x", "busybox"], ["run", "--network", "host", "--network-alias", "x", "busybox"],
    ["run", "--volumes-from", "nosuch", "busybox"], ["run", "--volumes-from", "mounts2:q", "busybox"], ["run", "--volume-driver", "nosuch", "-v", "x:/y", "busybox"], ["run", "--mount", "type=volume,src=data", "busybox"], ["run", "--mount", "type=tmpfs,dst=/t,tmpfs-size=x", "busybox"], ["run", "--mount", "type=bind,src=/tmp,dst=/t,volume-nocopy", "busybox"], ["run", "--mount", "type=bind,src=/tmp,dst=/t,bind-propagation=x", "busybox"],
    ["run", "--runtime", "nosuch", "busybox"], ["run", "--isolation", "hyperv", "busybox"], ["run", "--stop-timeout", "x", "busybox"], ["run", "--annotation", "x", "busybox"], ["run", "--storage-opt", "x", "busybox"], ["run", "--gpus", "x", "busybox"], ["run", "--label-file", "/nosuch", "busybox"],
    ["network"], ["network", "create"], ["network", "create", "plain"], ["network", "create", "-d", "nosuch", "x"], ["network", "create", "--subnet", "x", "x"], ["network", "create", "--subnet", "{net}.0/25", "x"], ["network", "create", "--gateway", "10.1.0.1", "x"], ["network", "create", "--subnet", "10.79.0.0/24", "--gateway", "10.80.0.1", "x"], ["network", "create", "--ip-range", "10.1.0.0/24", "x"],
    ["network", "create", "host"], ["network", "rm"], ["network", "rm", "nosuch"], ["network", "rm", "plain"], ["network", "rm", "bridge"], ["network", "rm", "-f", "nosuch"], ["network", "connect", "nosuch", "net"], ["network", "connect", "plain", "nosuch"], ["network", "connect", "plain", "net"], ["network", "connect", "host", "net"], ["network", "disconnect", "exact", "net"], ["network", "disconnect", "plain", "nosuch"], ["network", "connect", "--ip", "{net}.200", "exact", "ipcnone"],
    ["volume"], ["volume", "create", "-d", "nosuch", "x"], ["volume", "create", "a/b"], ["volume", "create", "-o", "nosuch=1", "x"], ["volume", "rm"], ["volume", "rm", "nosuch"], ["volume", "rm", "data"], ["volume", "rm", "-f", "nosuch"],
    ["cp"], ["cp", "net:/x"], ["cp", "a", "b"], ["cp", "net:/a", "from:/b"], ["cp", "nosuch:/x", "-"], ["cp", "net:/nosuch", "{work}/out"], ["cp", "{work}/nosuch", "net:/"], ["cp", "{work}/file", "net:/nosuch/x"], ["cp", "{work}/dir", "net:/etc/passwd"], ["cp", "net:/etc", "{work}/file"],
    ["rename"], ["rename", "net"], ["rename", "nosuch", "x"], ["rename", "net", "fixed"], ["rename", "net", "a b"], ["update"], ["update", "net"], ["update", "nosuch", "-m", "64m"], ["update", "-m", "1k", "net"], ["update", "--restart", "nosuch", "net"], ["update", "--cpus", "1000", "net"],
    ["pause"], ["pause", "nosuch"], ["pause", "changes"], ["unpause", "net"], ["unpause", "changes"], ["restart"], ["restart", "nosuch"], ["restart", "-t", "x", "net"], ["commit"], ["commit", "nosuch"], ["commit", "-c", "NOSUCH x", "changes"], ["commit", "changes", "UPPER"], ["export"], ["export", "nosuch"], ["import"], ["import", "/nosuch"], ["import", "-c", "NOSUCH x", "-"],
    ["events", "--since", "x"], ["events", "--filter", "x", "--until", "0s"], ["stats", "--nosuch"], ["top"], ["port"], ["diff"], ["wait", "--nosuch"], ["system", "prune", "--filter", "nosuch=1", "-f"], ["container", "prune", "-f", "--filter", "until=x"], ["volume", "prune", "-f", "--filter", "nosuch=1"], ["network", "prune", "-f", "--filter", "nosuch=1"],
    ["attach", "net", "/bin/sh"], ["terminate", "net"],
]

CHANGES = [
    ["pause", "net"], ["ps", "--format", "{{.Names}} {{.State}}", "--filter", "name=net"], ["exec", "net", "true"], ["pause", "net"], ["unpause", "net"], ["restart", "-t", "0", "net"], ["restart", "-t", "0", "net", "nosuch"], ["rename", "net", "renamed"], ["inspect", "-f", "{{.Name}}", "renamed"], ["rename", "renamed", "net"],
    ["update", "-m", "48m", "--memory-swap", "96m", "--cpus", "0.7", "--restart", "on-failure:2", "net"], ["inspect", "-f", "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.NanoCpus}} {{.HostConfig.RestartPolicy}}", "net"], ["update", "--pids-limit", "7", "net", "fixed"],
    ["network", "connect", "exact", "net"], ["inspect", "-f", "{{range $k, $v := .NetworkSettings.Networks}}{{$k}} {{end}}", "net"], ["exec", "net", "sh", "-c", "ls /sys/class/net"], ["network", "disconnect", "exact", "net"], ["network", "disconnect", "-f", "exact", "net"], ["exec", "net", "sh", "-c", "ls /sys/class/net"],
    ["cp", "{work}/file", "net:/tmp/copied"], ["exec", "net", "sh", "-c", "ls -ln /tmp/copied | cut -c1-40; cat /tmp/copied"], ["cp", "{work}/dir", "net:/tmp/newdir"], ["cp", "{work}/dir/.", "net:/tmp"], ["exec", "net", "sh", "-c", "find /tmp | sort"], ["cp", "changes:/dir", "{work}/fetched"], ["cp", "-q", "changes:/new", "{work}/fetched"],
    ["commit", "-m", "kept", "-a", "me", "-c", "ENV X=1", "-c", "CMD [\"cat\", \"/new\"]", "changes", "committed:1"], ["image", "inspect", "-f", "{{.Author}} {{.Comment}} {{.Config.Env}} {{.Config.Cmd}}", "committed:1"], ["run", "--rm", "committed:1"], ["run", "--rm", "committed:1", "ls", "/etc/passwd", "/dir"],
    ["export", "-o", "{work}/exported.tar", "changes"], ["import", "-c", "CMD [\"cat\", \"/new\"]", "-m", "brought", "{work}/exported.tar", "imported:2"], ["run", "--rm", "imported:2"], ["image", "inspect", "-f", "{{.Comment}} {{.Config.Cmd}} {{len .RootFS.Layers}}", "imported:2"],
    ["wait", "--nosuch", "net"], ["stop", "-t", "0", "inner"], ["network", "rm", "inside"], ["rm", "inner"], ["network", "rm", "inside"], ["volume", "rm", "labelled"], ["volume", "prune", "-f"], ["volume", "prune", "-a", "-f", "--filter", "label=b"], ["container", "prune", "-f", "--filter", "label=nosuch"], ["network", "prune", "-f"],
    ["kill", "always"], ["rm", "-f", "always", "policy"], ["container", "rm", "-f", "from"], ["rm", "-v", "-f", "mounts2"], ["volume", "rm", "data"],
]
