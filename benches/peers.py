"""The runtimes that are measured: each with directories, a network and, where it has one, a daemon of its own."""

import json
import os
import resource
import shutil
import subprocess
import time
from pathlib import Path


def call(argv, env=None, check=True) -> str:
    try:
        done = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, timeout=600)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(str(error)) from None
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(map(str, argv))}: status {done.returncode}\n{done.stderr}")
    return done.stdout.strip()


def pss_kib(pid) -> int:
    """Proportional memory of one process: shared pages are divided among those that share them."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


def pids_of(*names) -> list[int]:
    """Processes by the name of their program, without the zombies."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # A monitor is executed from a mount nobody else can reach: its path is just "/".
                program = os.path.basename(os.readlink(entry / "exe")) or (entry / "comm").read_text().strip()
                if program in names:
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


class Firewall:
    """The iptables rules as they were: docker and podman leave theirs behind, FORWARD's DROP policy among them."""

    def __init__(self):
        self.rules = {tool: call([f"{tool}-save"], check=False) for tool in ("iptables", "ip6tables")}
        self.tables = set(call(["nft", "list", "tables"]).splitlines())

    def restore(self):
        for tool, rules in self.rules.items():
            subprocess.run([f"{tool}-restore"], input=rules + "\n", text=True, check=False)
        for table in set(call(["nft", "list", "tables"]).splitlines()) - self.tables:
            if not table.endswith(" rctr"):
                call(["nft", "delete", *table.split()], check=False)


class Peer:
    name = ""
    image_prefix = ""  # before the name of an image
    helpers: tuple = ()  # programs that a running container keeps besides its own
    daemons: tuple = ()

    def __init__(self, work: Path, registry: str):
        self.work, self.registry = work / self.name, registry
        self.work.mkdir(parents=True)
        self.env = dict(os.environ)

    def argv(self, *args) -> list[str]:
        raise NotImplementedError

    def run(self, *args, check=True) -> str:
        return call(self.argv(*args), self.env, check)

    def image(self, name) -> str:
        return self.image_prefix + name

    remove = ("rm", "-f")

    def remove_all(self):
        ids = self.run("ps", "-aq", check=False).split()
        for start in range(0, len(ids), 50):
            self.run(*self.remove, *ids[start : start + 50], check=False)

    def stop(self):
        self.remove_all()


class Rctr(Peer):
    name = "rctr"
    helpers = ("rctr-monitor",)

    def __init__(self, work, registry, binary):
        super().__init__(work, registry)
        self.binary = binary
        config = self.work / "config.toml"
        config.write_text(
            f'[registry."docker.io"]\nmirrors = ["{registry}"]\n[network]\nbridge = "rctrb0"\nsubnet = "10.217.0.0/16"\n[log]\nmax_size = "4g"\n'
        )
        self.env |= {"RCTR_ROOT": f"{self.work}/root", "RCTR_STATE": f"{self.work}/state", "RCTR_CONFIG": str(config)}

    def argv(self, *args):
        return [self.binary, *args]

    def stop(self):
        super().stop()
        self.run("network", "prune", "-f", check=False)
        call([self.binary, "internal", "network-remove"], self.env, check=False)
        call(["ip", "link", "delete", "rctrb0"], check=False)


class Docker(Peer):
    name = "docker"
    helpers = ("containerd-shim-runc-v2",)
    daemons = ("dockerd", "containerd")

    def __init__(self, work, registry):
        super().__init__(work, registry)
        self.socket = f"unix://{self.work}/docker.sock"
        # Not docker0, which may be another dockerd's.
        self.bridge = f"rctrd{os.getpid()}"
        call(["ip", "link", "add", self.bridge, "type", "bridge"])
        call(["ip", "address", "add", f"10.{218 + os.getpid() % 32}.0.1/16", "dev", self.bridge])
        call(["ip", "link", "set", self.bridge, "up"])
        log = open(self.work / "log", "w")
        self.daemon = subprocess.Popen(
            ["dockerd", "--data-root", self.work / "data", "--exec-root", self.work / "exec", "--host", self.socket,
             "--pidfile", self.work / "pid", "--registry-mirror", registry, "--bridge", self.bridge],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while self.daemon.poll() is None and time.monotonic() < deadline:
            if subprocess.run(self.argv("version"), capture_output=True).returncode == 0:
                return
            time.sleep(0.2)
        self.end()
        raise RuntimeError("dockerd does not start:\n" + (self.work / "log").read_text()[-2000:])

    def argv(self, *args):
        return ["docker", "-H", self.socket, *args]

    def bundle(self) -> dict:
        """The OCI configuration docker gives an ordinary container, its seccomp profile included."""
        cid = self.run("run", "-d", "--network", "none", self.image("busybox"), "sleep", "1000")
        found = next((self.work / "exec").glob(f"**/{cid}/config.json"))
        config = json.loads(found.read_text())
        self.run("rm", "-f", cid)
        return config

    def stop(self):
        try:
            super().stop()
            self.run("network", "prune", "-f", check=False)
        finally:
            self.end()

    def end(self):
        self.daemon.terminate()
        try:
            self.daemon.wait(60)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.daemon.wait()
        call(["ip", "link", "delete", self.bridge], check=False)


class Podman(Peer):
    name = "podman"
    image_prefix = "docker.io/library/"
    helpers = ("conmon",)
    remove = ("rm", "-f", "-t", "0")

    def __init__(self, work, registry):
        super().__init__(work, registry)
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        # podman lowers its own limit to pid_max, and without CAP_SYS_RESOURCE nothing may go above that.
        processes = min(resource.getrlimit(resource.RLIMIT_NPROC)[1], int(Path("/proc/sys/kernel/pid_max").read_text()))
        (self.work / "containers.conf").write_text(
            f'[containers]\ndefault_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]\n'
            f'[engine]\ncgroup_manager = "cgroupfs"\nruntime = "runc"\nevents_logger = "file"\n')
        host = registry.removeprefix("http://")
        (self.work / "registries.conf").write_text(
            f'[[registry]]\nprefix = "docker.io"\nlocation = "{host}"\ninsecure = true\n')
        (self.work / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        self.env |= {"CONTAINERS_CONF": f"{self.work}/containers.conf",
                     "CONTAINERS_REGISTRIES_CONF": f"{self.work}/registries.conf"}

    def argv(self, *args):
        return ["podman", "--root", f"{self.work}/root", "--runroot", f"{self.work}/run", "--tmpdir", f"{self.work}/tmp",
                "--storage-driver", "overlay", *args]

    def stop(self):
        super().stop()
        call(["ip", "link", "delete", "cni-podman0"], check=False)


class Runc:
    """runc alone, on a directory: no image, no overlay, no network."""

    def __init__(self, work: Path, rootfs: Path, config: dict):
        self.bundle = work / "bundle"
        self.bundle.mkdir()
        config["root"] = {"path": str(rootfs)}
        config["process"]["args"] = ["true"]
        config["linux"].pop("cgroupsPath", None)
        config.pop("hooks", None)
        config["mounts"] = [m for m in config["mounts"] if m["type"] != "bind" and not m["destination"].startswith("/etc/")]
        for namespace in config["linux"]["namespaces"]:
            namespace.pop("path", None)
        (self.bundle / "config.json").write_text(json.dumps(config))
        self.state = work / "runc"
        self.count = 0

    def argv(self):
        self.count += 1
        return ["runc", "--root", str(self.state), "run", "--bundle", str(self.bundle), f"bench-{os.getpid()}-{self.count}"]


def unmount_below(work: Path):
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in sorted((p for p in points if p.startswith(str(work))), reverse=True):
        call(["umount", "-l", point], check=False)
    shutil.rmtree(work, ignore_errors=True)
