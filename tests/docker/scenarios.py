"""What both runtimes are asked to do: containers that cover the flags, questions about them, and bad commands.

`{work}` stands for a directory with a few files, `{port}` for a free port of the host, `{busy}` for one that is taken.
"""

# Made in this order, each named as its key. The last word says how far it goes: started and left running ("up"),
# waited for ("ends"), or only made ("made"); all may fail.
CONTAINERS = {
    "web": ("up", "-d -p {port}:80 -p 127.0.0.1::8443/udp --label a=1 --label b --label c=x=y nginx"),
    "exposed": ("up", "-d -P --expose 9000-9001 --expose 53/udp nginx"),
    "mounts": ("up", "-d -v {work}/dir:/host:ro -v {work}/file:/file -v named:/named -v /anonymous -v named2:/ro:ro,nocopy "
               "--tmpfs /scratch:size=1m,mode=700 --tmpfs /plain --mount type=bind,src={work}/dir,dst=/m,readonly "
               "--mount type=volume,src=named3,dst=/v --mount type=volume,dst=/v2 "
               "--mount type=tmpfs,dst=/t,tmpfs-size=1048576,tmpfs-mode=0700 busybox sleep 1000"),
    "identity": ("up", "-d -u 1000:50 --group-add 7 -w /some/dir -e A=1 -e B= -e UNSET_ON_HOST --env-file {work}/env "
                 "--hostname host.example --add-host one:1.2.3.4 --add-host two:host-gateway --dns 9.9.9.9 --dns-search example.org "
                 "--dns-option ndots:2 busybox sleep 1000"),
    "limits": ("up", "-d -m 64m --cpus 0.5 --cpu-shares 512 --cpuset-cpus 0 --pids-limit 50 --shm-size 16m "
               "--ulimit nofile=500:600 --ulimit core=0 --sysctl net.ipv4.ip_forward=0 busybox sleep 1000"),
    "swap": ("made", "-m 64m --memory-swap 100m --memory-reservation 32m --oom-score-adj 100 --cpuset-mems 0 busybox"),
    "caps": ("up", "-d --cap-add NET_ADMIN --cap-add sys_time --cap-drop cap_mknod --security-opt no-new-privileges --read-only busybox sleep 1000"),
    "capsall": ("made", "--cap-add ALL --cap-drop=ALL --security-opt seccomp=unconfined --security-opt apparmor=unconfined busybox"),
    "privileged": ("made", "--privileged --init --stop-signal SIGINT --stop-timeout 3 busybox sleep 1000"),
    "init": ("up", "-d --init busybox sleep 1000"),
    "unmasked": ("up", "-d --security-opt systempaths=unconfined --security-opt label=disable busybox sleep 1000"),
    "hostnet": ("up", "-d --network host busybox sleep 1000"),
    "nonet": ("up", "-d --network none busybox sleep 1000"),
    "joined": ("up", "-d --network container:web busybox sleep 1000"),
    "terminal": ("up", "-dit busybox sh"),
    "stdin": ("made", "-i busybox cat"),
    "entry": ("ends", "--entrypoint /bin/sh busybox -c 'echo out; sleep 0.2; echo err >&2'"),
    "noentry": ("made", "--entrypoint '' nginx ls -l"),
    "imageuser": ("made", "redis"),
    "nginxmade": ("made", "nginx"),
    "volumeimage": ("made", "volume"),
    "pythonimage": ("made", "python"),
    "ports": ("made", "-p 8000-8001:90-91 -p 8100-8110:92 -p 127.0.0.1:8200:93/udp -p [::1]:8201:94 -p 95 busybox"),
    "ok": ("ends", "busybox true"),
    "fails": ("ends", "busybox sh -c 'exit 3'"),
    "killed": ("ends", "busybox sh -c 'kill -9 $$'"),
    "oom": ("ends", "-m 8m --memory-swap 8m busybox sh -c 'a=x; while true; do a=$a$a; done'"),
    "missingcommand": ("ends", "busybox nosuchcommand"),
    "notexecutable": ("ends", "busybox /etc/passwd"),
    "directory": ("ends", "busybox /tmp"),
    "portbusy": ("ends", "-p {busy}:80 busybox true"),
    "baduser": ("ends", "-u nosuchuser busybox true"),
}

# Asked of both once the containers are there: standard output, exit code and (shown only) standard error.
PS_FIELDS = ("ID", "Names", "Image", "Command", "CreatedAt", "RunningFor", "Ports", "State", "Status", "Size", "Labels",
             "LocalVolumes", "Networks", 'Label "a"')
IMAGE_FIELDS = ("ID", "Repository", "Tag", "Digest", "CreatedSince", "CreatedAt", "Size", "SharedSize", "UniqueSize",
                "Containers")

QUESTIONS = [
    *(["ps", "-a", "--format", "{{.Names}}: {{%s}}" % ("." + field)] for field in PS_FIELDS),
    *(["ps", "-a", "--no-trunc", "--format", "{{.Names}}: {{.%s}}" % field] for field in ("ID", "Command", "Image")),
    ["ps"], ["ps", "-a"], ["ps", "-as"], ["ps", "-a", "--no-trunc"], ["ps", "-l"], ["ps", "-n", "2"], ["ps", "-aq"], ["ps", "-aq", "--no-trunc"],
    ["ps", "-a", "--format", "json"], ["ps", "-a", "--format", "table {{.Names}}\\t{{.Status}}\\t{{.Networks}}"],
    ["ps", "--format", "table {{.ID}} {{.Names}} {{.Ports}} {{.Size}} {{.Labels}} {{.LocalVolumes}} {{.RunningFor}} {{.CreatedAt}} {{.State}} {{.Image}} {{.Command}}"],
    ["ps", "-a", "--format", "{{.Nosuch}}"], ["ps", "-a", "--format", "{{.Names"], ["ps", "-a", "--format", "raw"],
    ["ps", "-a", "--format", '{{upper .Names}} {{lower .State}} {{len .Names}} {{join (split .Image "o") "0"}} {{truncate .Names 3}} {{pad .State 1 2}}|{{title .State}}'],
    *(["ps", "-a", "--format", "{{.Names}}", "--filter", f] for f in (
        "status=exited", "status=created", "status=running", "status=nosuch", "exited=3", "exited=x", "name=we", "name=^web$", "name=/web",
        "label=a", "label=a=1", "label=a=2", "ancestor=nginx", "ancestor=busybox:latest", "ancestor=nosuch", "before=caps", "since=caps",
        "volume=named", "volume=/host", "network=host", "network=bridge", "network=none", "publish=95", "publish=80/tcp", "publish={port}", "expose=80",
        "expose=9000-9001/tcp", "expose=53/udp", "health=none", "health=starting", "health=healthy", "is-task=true", "nosuch=1", "bad", "id=nosuch")),
    ["images"], ["images", "-a"], ["images", "-q"], ["images", "--digests"], ["images", "--no-trunc"], ["images", "-q", "--no-trunc"],
    *(["images", "--format", "{{.Repository}}: {{%s}}" % ("." + field)] for field in IMAGE_FIELDS),
    ["images", "--format", "json"], ["images", "--format", "table {{.ID}}\\t{{.Repository}}"], ["images", "nginx"], ["images", "nginx:latest"], ["images", "nosuch"],
    ["images", "ngin*"],
    *(["images", "--format", "{{.Repository}}", "--filter", f] for f in (
        "dangling=true", "dangling=false", "dangling=x", "label=a", "reference=nginx", "reference=*x:latest", "before=nginx", "since=busybox", "nosuch=1")),
    ["version"], ["version", "--format", "json"], ["version", "--format", "{{.Client.Version}}"], ["version", "--format", "{{.Server.Os}}/{{.Server.Arch}}"],
    ["info"], ["info", "--format", "json"], ["info", "--format", "{{.Driver}} {{.Containers}} {{.ContainersRunning}} {{.Images}} {{.OSType}}"],
    ["system", "df"], ["system", "df", "--format", "json"], ["system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}}"],
    ["logs", "entry"], ["logs", "-t", "entry"], ["logs", "--tail", "1", "entry"], ["logs", "--tail", "0", "entry"], ["logs", "--since", "1h", "entry"],
    ["logs", "--until", "1h", "entry"], ["logs", "ok"], ["logs", "swap"], ["logs", "-f", "entry"], ["logs", "missingcommand"],
    ["exec", "mounts", "true"], ["exec", "mounts", "sh", "-c", "exit 7"], ["exec", "mounts", "nosuch"], ["exec", "mounts", "/etc/passwd"],
    ["exec", "mounts", "sh", "-c", "kill -9 $$"], ["exec", "-u", "nosuch", "mounts", "id"], ["exec", "-u", "1000", "mounts", "id"],
    ["exec", "-w", "/nosuch", "mounts", "pwd"], ["exec", "-w", "/tmp", "mounts", "pwd"], ["exec", "-w", "rel", "mounts", "pwd"], ["exec", "-e", "X=1", "mounts", "sh", "-c", "echo $X"],
    ["exec", "-d", "mounts", "true"], ["exec", "-d", "mounts", "nosuch"], ["exec", "identity", "sh", "-c", "env | sort"], ["exec", "identity", "id"], ["exec", "identity", "pwd"],
    ["exec", "identity", "cat", "/etc/hosts"], ["exec", "identity", "cat", "/etc/resolv.conf"], ["exec", "identity", "hostname"], ["exec", "-t", "identity", "sh", "-c", "env | sort"],
    ["exec", "mounts", "sh", "-c", "mount | sed -n 's/ on / /;s/^[^ ]* //p' | sort"], ["exec", "mounts", "sh", "-c", "ls -ld /dev/* /scratch /plain /t /v"],
    ["exec", "limits", "sh", "-c", "ulimit -n; ulimit -Hn; ulimit -c; ulimit -u; df -k /dev/shm | tail -1"], ["exec", "limits", "sh", "-c", "cat /proc/sys/net/ipv4/ip_forward /proc/self/oom_score_adj"],
    *(["exec", name, "sh", "-c", "grep -E 'Cap|Seccomp:|NoNew|Groups' /proc/self/status"] for name in ("caps", "unmasked", "identity", "mounts")),
    ["exec", "init", "sh", "-c", "ps -o pid,args | head -3; cat /proc/1/comm"], ["exec", "caps", "touch", "/x"], ["exec", "hostnet", "sh", "-c", "ls /sys/class/net | grep -v veth | grep lo"],
    ["exec", "nonet", "ip", "-o", "addr"], ["exec", "joined", "hostname"], ["exec", "web", "sh", "-c", "env | sort"], ["exec", "terminal", "sh", "-c", "echo $TERM; tty"],
    ["exec", "--privileged", "mounts", "grep", "CapEff", "/proc/self/status"], ["exec", "ok", "true"], ["exec", "nosuch", "true"], ["exec", "mounts"],
    ["exec", "mounts", "sh", "-c", "find /proc/sys /proc/sysrq-trigger /proc/kcore /sys/firmware -maxdepth 0 -exec ls -ld {} \\; 2>&1 | cut -c1-10; cat /proc/1/cgroup | wc -l; ls /sys/fs/cgroup"],
    ["wait", "ok"], ["wait", "fails", "killed", "oom"], ["wait", "swap"], ["start", "ok"], ["stop", "ok"], ["kill", "ok"], ["attach", "ok"],
    ["inspect", "-f", "{{.State.ExitCode}} {{.State.OOMKilled}}", "oom"], ["inspect", "-f", "{{json .Config.Cmd}}", "web"], ["inspect", "-f", "{{.Config.Nosuch}}", "web"],
    *(["inspect", "-f", template, "web"] for template in (
        '[{{index .Config.Labels "nosuch"}}]', "{{.ID}}", "{{.HostConfig.PidsLimit}} {{.HostConfig.MemorySwappiness}} {{.Config.Healthcheck}}", "{{.Config.ExposedPorts}} {{.Config.Volumes}}",
        "{{.Id}} {{.State.Health.Status}}", "{{if .State.Health}}{{.State.Health.Status}}{{end}} {{.State.Health}}", "{{.Id | nosuch}}")),
    ["inspect", "-f", "{{.NetworkSettings.IPAddress}} {{.HostConfig.Memory}} {{range $k, $v := .NetworkSettings.Ports}}{{$k}}={{if $v}}{{(index $v 0).HostPort}}{{end}} {{end}}", "web"],
    ["inspect", "-f", "{{.Id}", "web"], ["inspect", "-f", "{{index .Config.Labels \"c\"}} {{.Name}} {{len .Mounts}}", "web"], ["inspect", "-f", "json", "web"],
    ["inspect", "-f", "{{.Config.Labels}} {{.Config.Env}} {{.Config.ExposedPorts}} {{.HostConfig.CapAdd}}", "web"],
    ["inspect", "-f", "{{.HostConfig.PortBindings}} {{.HostConfig.RestartPolicy}} {{.HostConfig.LogConfig}}", "web"],
    ["inspect", "-f", "{{.Created}} {{.State.StartedAt}} {{.State.FinishedAt}}", "ok"], ["inspect", "-s", "-f", "{{.SizeRw}} {{.SizeRootFs}}", "ok"],
    ["inspect", "nosuch"], ["inspect", "web", "nosuch"], ["inspect", "--type", "image", "web"], ["inspect", "--type", "container", "nginx"], ["inspect", "--type", "nosuch", "nginx"],
    ["container", "inspect", "nosuch"], ["image", "inspect", "nosuch"],
]

IMAGES = ("busybox", "nginx", "redis", "python", "httpd", "debian", "volume", "user", "scratch-hello", "v2s2", "multiarch")

BAD = [
    ["run"], ["run", "--nosuch", "busybox"], ["run", "-Z", "busybox"], ["run", "-p", "x", "busybox"], ["run", "-p", "70000:80", "busybox"], ["run", "-p", "1.2.3:80:80", "busybox"],
    ["run", "-p", "80-81:80-85", "busybox"], ["run", "-p", "80:80/nosuch", "busybox"], ["run", "-m", "5x", "busybox"], ["run", "-m", "1k", "busybox"], ["run", "--cpus", "x", "busybox"], ["run", "--cpus", "-1", "busybox"],
    ["run", "--cpus", "1000", "busybox"], ["run", "--cpuset-cpus", "99", "busybox"], ["run", "--cpuset-cpus", "x", "busybox"], ["run", "--pids-limit", "x", "busybox"], ["run", "-v", ":/x", "busybox"], ["run", "-v", "aa:b", "busybox"],
    ["run", "-v", "/a:/b:nosuch", "busybox"], ["run", "-v", "a/b:/c", "busybox"], ["run", "-v", "/x:/", "busybox"], ["run", "--mount", "type=bind,src=/nosuch,dst=/x", "busybox"], ["run", "--mount", "type=nosuch,dst=/x", "busybox"],
    ["run", "--mount", "nosuch=1", "busybox"], ["run", "--mount", "type=bind,src=/tmp", "busybox"], ["run", "--tmpfs", "x", "busybox"], ["run", "--tmpfs", "/x:nosuch=1", "busybox", "true"], ["run", "--env-file", "/nosuch", "busybox"],
    ["run", "-w", "rel", "busybox"], ["run", "--add-host", "x", "busybox"], ["run", "--add-host", "x:y", "busybox"], ["run", "--dns", "x", "busybox"], ["run", "--network", "nosuch", "busybox"],
    ["run", "--network", "container:nosuch", "busybox"], ["run", "--network", "container:web", "-p", "80", "busybox"], ["run", "--network", "container:web", "--hostname", "x", "busybox"], ["run", "--network", "host", "-p", "80", "busybox", "true"],
    ["run", "--cap-add", "NOSUCH", "busybox"], ["run", "--security-opt", "nosuch", "busybox"], ["run", "--security-opt", "seccomp=/nosuch", "busybox"], ["run", "--ulimit", "x", "busybox"], ["run", "--ulimit", "nosuch=1", "busybox"],
    ["run", "--ulimit", "nofile=5:3", "busybox"], ["run", "--sysctl", "x", "busybox"], ["run", "--sysctl", "kernel.hostname=x", "busybox", "true"], ["run", "--shm-size", "x", "busybox"], ["run", "--stop-signal", "NOSUCH", "busybox"], ["run", "--stop-timeout", "x", "busybox"],
    ["run", "--name", "a b", "busybox"], ["run", "--name", "web", "busybox"], ["run", "--name", "x", "busybox"], ["run", "--label", "", "busybox", "true"], ["run", "--platform", "nosuch/x", "busybox"], ["run", "--platform", "linux/arm64", "busybox"],
    ["run", "--pull", "nosuch", "busybox"], ["run", "--pull", "never", "nosuch"], ["run", "--rm", "--restart", "always", "busybox"], ["run", "--cidfile", "{work}/file", "busybox"], ["run", "-it", "busybox", "true"], ["run", "-e", "", "busybox"], ["run", "-e", "=x", "busybox"],
    ["run", "--memory-swap", "1m", "busybox"], ["run", "-m", "64m", "--memory-swap", "1m", "busybox"], ["run", "--group-add", "nosuch", "busybox", "true"], ["run", "UPPER", "true"], ["run", "nosuch", "true"], ["run", "busybox:nosuch", "true"], ["run", "busybox@sha256:00"],
    ["run", "-w", "/etc/passwd", "busybox", "true"], ["run", "-u", "", "busybox", "true"], ["run", "-d", "--rm", "busybox", "nosuch"], ["run", "-d", "-a", "stdout", "busybox"], ["run", "--hostname", "-x", "busybox", "true"],
    ["create"], ["create", "--nosuch", "busybox"], ["create", "--name", "a b", "busybox"], ["create", "--name", "web", "busybox"], ["create", "-p", "x", "busybox"], ["create", "--cap-add", "NOSUCH", "busybox"], ["create", "-m", "1k", "busybox"],
    ["create", "--network", "nosuch", "busybox"], ["create", "--network", "container:nosuch", "busybox"], ["create", "nosuch"], ["create", "-w", "rel", "busybox"], ["create", "-v", "aa:b", "busybox"], ["create", "--env-file", "/nosuch", "busybox"],
    ["start"], ["start", "nosuch"], ["start", "portbusy"], ["start", "-a", "web", "ok"], ["start", "nosuch", "ok"], ["stop"], ["stop", "nosuch"], ["stop", "-t", "x", "web"], ["kill"], ["kill", "nosuch"], ["kill", "-s", "NOSUCH", "web"], ["rm"], ["rm", "nosuch"], ["rm", "web"],
    ["rm", "-f", "nosuch"], ["wait"], ["wait", "nosuch"], ["logs"], ["logs", "nosuch"], ["logs", "--tail", "x", "web"], ["logs", "--since", "x", "web"], ["logs", "web", "ok"], ["attach"], ["attach", "nosuch"], ["exec"], ["exec", "web"], ["exec", "-e", "", "web", "true"],
    ["inspect"], ["ps", "x"], ["ps", "--nosuch"], ["ps", "-n", "x"], ["images", "a", "b"], ["images", "--nosuch"], ["rmi"], ["rmi", "nosuch"], ["rmi", "nginx"], ["rmi", "UPPER"], ["pull"], ["pull", "nosuch"], ["pull", "busybox:nosuch"], ["pull", "UPPER"], ["pull", "a", "b"],
    ["pull", "--platform", "nosuch", "busybox"], ["pull", "localhost:1/x"], ["info", "x"], ["version", "x"], ["system"], ["system", "nosuch"], ["system", "df", "x"], ["image"], ["image", "nosuch"], ["container"], ["container", "nosuch"], ["nosuch"], ["--nosuch"], ["--log-level", "nosuch", "ps"],
]

# At the end: what is printed by the commands that change something.
CHANGES = [
    ["create", "--name", "later", "busybox", "true"], ["start", "later"], ["start", "-a", "later"], ["stop", "-t", "0", "limits"], ["kill", "caps"], ["kill", "-s", "0", "web"], ["rm", "caps"], ["rm", "-f", "limits", "nosuch", "web"], ["rm", "ok", "nosuch", "fails"],
    ["run", "--rm", "busybox", "echo", "hello"], ["run", "--rm", "-d", "--name", "auto", "busybox", "true"], ["run", "--rm", "busybox", "sh", "-c", "exit 9"], ["run", "--pull", "always", "-q", "--rm", "busybox", "true"],
    ["pull", "-q", "busybox"], ["pull", "busybox"], ["rmi", "volume"], ["rmi", "-f", "volume"], ["rmi", "v2s2"], ["rmi", "-f", "nosuch"],
    ["run", "-d", "--name", "keeps", "user", "sleep", "1000"], ["rmi", "user"], ["rmi", "-f", "user"], ["ps", "--filter", "name=keeps", "--format", "{{.Image}}"],
    ["network", "prune"], ["system", "prune"], ["kill", "-s", "", "keeps"], ["logs", "--since", "", "keeps"],
    ["run", "--rm", "--domainname", "d.example", "--hostname", "h", "busybox", "sh", "-c", "hostname; cat /etc/hostname; hostname -f"], ["run", "--rm", "busybox", "ls", "/.dockerenv"],
    ["run", "--rm", "--tmpfs", "/t", "--tmpfs", "/t", "-v", "/t", "busybox", "true"],
]
