"""A node: `rctr cri` and a real kubelet on it, and what is put back when it ends."""

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import re
import ssl
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.parse
import urllib.request
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "benches"))
import peers  # noqa: E402

# What a kubelet sets on its node.
SYSCTLS = ["vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys",
           "kernel/keys/root_maxbytes", "net/ipv4/conf/all/route_localnet"]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def pod(name, containers, **spec):
    containers = [{"image": "busybox", "imagePullPolicy": "IfNotPresent"} | c for c in containers]
    spec = {"terminationGracePeriodSeconds": 2, "containers": containers} | spec
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default", "labels": {"app": name}}, "spec": spec}


class Node:
    def __init__(self, kubelet, rctr, crictl, work: Path, registry: str, gates: list):
        self.work, self.rctr, self.crictl, self.kubelet_binary = work, rctr, crictl, kubelet
        self.manifests = work / "manifests"
        self.manifests.mkdir()
        self.cni = work / "cni"
        self.cni.mkdir()
        self.port = free_port()
        self.socket = work / "cri.sock"
        self.env = dict(os.environ) | {"RCTR_ROOT": f"{work}/root", "RCTR_STATE": f"{work}/state", "RCTR_CONFIG": f"{work}/config.toml"}
        (work / "config.toml").write_text(
            f'[registry."docker.io"]\nmirrors = ["{registry}"]\n[network]\nbridge = "rctrk0"\nsubnet = "10.229.0.0/16"\n'
            f'[cri]\ncni_conf_dir = "{self.cni}"\ncni_bin_dirs = ["/usr/lib/cni"]\n')
        (work / "kubelet.yaml").write_text(json.dumps({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", "staticPodPath": str(self.manifests),
            "address": "127.0.0.1", "port": self.port, "healthzPort": 0, "authorization": {"mode": "AlwaysAllow"},
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}}, "cgroupDriver": "cgroupfs",
            **self.cgroup_v1(), "failSwapOn": False, "fileCheckFrequency": "2s", "enforceNodeAllocatable": [], "makeIPTablesUtilChains": False,
            # Not all of a pod's figures are cAdvisor's: older kubelets must be told to take them from here.
            "featureGates": {"PodAndContainerStatsFromCRI": True} | {gate: True for gate in gates},
            "containerLogMaxSize": "64Ki", "containerLogMaxFiles": 4, "containerLogMonitorInterval": "3s"}))
        self.processes = []

    def cgroup_v1(self):
        """The word that newer kubelets want to hear before they run on cgroup v1, and older ones do not know."""
        minor = int(re.search(r"v1\.(\d+)", peers.call([self.kubelet_binary, "--version"]))[1])
        return {"failCgroupV1": False} if minor >= 31 else {}

    def start(self):
        self.start_rctr()
        self.start_kubelet()

    def start_rctr(self):
        self.cri = self.spawn("rctr", [self.rctr, "cri", "--listen", f"unix://{self.socket}"])
        self.until("rctr cri serves", lambda: self.socket.exists(), 20)

    def start_kubelet(self):
        self.kubelet = self.spawn("kubelet", [
            self.kubelet_binary, "--config", f"{self.work}/kubelet.yaml", "--root-dir", f"{self.work}/kubelet",
            "--container-runtime-endpoint", f"unix://{self.socket}", "--v=2", "--cert-dir", f"{self.work}/pki", *self.kubelet_flags()])
        self.until("the kubelet serves", lambda: self.get("/healthz") == "ok", 60)

    def kubelet_flags(self):
        return ["--hostname-override", "node"]

    def spawn(self, name, argv):
        log = open(self.work / f"{name}.log", "a")
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env)
        self.processes.append(process)
        return process

    # -- asking the kubelet ---------------------------------------------------------------------------------------

    def get(self, path, data=None):
        context = ssl._create_unverified_context()
        request = urllib.request.Request(f"https://127.0.0.1:{self.port}{path}", data=data)
        with urllib.request.urlopen(request, context=context, timeout=20) as answer:
            return answer.read().decode()

    def pods(self):
        return {p["metadata"]["name"].removesuffix("-node"): p for p in json.loads(self.get("/pods"))["items"] or []}

    def status(self, name):
        return self.pods().get(name, {}).get("status", {})

    def container(self, name, container):
        every = self.status(name).get("containerStatuses", [])
        return next((c for c in every if c["name"] == container), {})

    def run_in(self, name, container, command):
        """ExecSync, through the kubelet."""
        return self.get(f"/run/default/{name}-node/{container}?cmd={urllib.parse.quote(command)}", data=b"")

    def logs(self, name, container):
        return self.get(f"/containerLogs/default/{name}-node/{container}")

    def crictl_run(self, *args, stdin=None):
        done = subprocess.run([self.crictl, "--runtime-endpoint", f"unix://{self.socket}", "--image-endpoint", f"unix://{self.socket}",
                               *args], capture_output=True, text=True, input=stdin, timeout=60)
        if done.returncode:
            raise RuntimeError(f"crictl {args}: {done.returncode} {done.stderr}")
        return done.stdout

    @staticmethod
    def cgroup_file(pid, v1, v2):
        """A value of the kernel's about a process's cgroup, by the names that v1 (CONTROLLER/FILE) and v2 have for it."""
        groups = dict(line.split(":", 2)[1:] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines())
        root = Path("/sys/fs/cgroup")
        if (root / "cgroup.controllers").exists():
            return (root / groups[""].lstrip("/") / v2).read_text().strip()
        controller, file = v1.split("/")
        mounted = next(d for d in root.iterdir() if controller in d.name.split(","))
        path = next(v for k, v in groups.items() if controller in k.split(","))
        return (mounted / path.lstrip("/") / file).read_text().strip()

    def id_of(self, name, container):
        return self.container(name, container)["containerID"].split("//")[1]

    def apply(self, *pods):
        for one in pods:
            path = self.manifests / f".{one['metadata']['name']}"
            path.write_text(json.dumps(one))
            path.rename(self.manifests / f"{one['metadata']['name']}.json")

    def delete(self, *names):
        for name in names:
            (self.manifests / f"{name}.json").unlink(missing_ok=True)
        self.until(f"{', '.join(names)} gone", lambda: not set(names) & set(self.pods()), 60)

    def running(self, *names):
        def all_run():
            statuses = [self.status(name) for name in names]
            return all(s.get("phase") == "Running" and all("running" in c["state"] for c in s["containerStatuses"]) for s in statuses)

        self.until(f"{', '.join(names)} running", all_run, 90)

    def until(self, what, condition, seconds):
        deadline, last = time.monotonic() + seconds, None
        while time.monotonic() < deadline:
            try:
                if condition():
                    return
            except (OSError, KeyError, StopIteration, ValueError, RuntimeError) as error:
                last = error
            time.sleep(0.25)
        raise AssertionError(f"not within {seconds} s: {what} ({last})")

    def stop(self):
        """The kubelet first: it would make its pods again. What it would have cleaned up in time is cleaned up here."""
        for process in reversed(self.processes):
            if process is self.cri and process.poll() is None:
                with contextlib.suppress(RuntimeError):
                    for pod in self.crictl_run("pods", "-q").split() if self.crictl else []:
                        self.crictl_run("rmp", "-f", pod)
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        left = peers.call([self.rctr, "ps", "-aq", "--pods"], self.env, check=False).split()
        if left:
            peers.call([self.rctr, "rm", "-f", *left], self.env, check=False)
        for logs in [*Path("/var/log/pods").glob("default_*-node_*"), *Path("/var/log/containers").glob("*-node_default_*")]:
            shutil.rmtree(logs) if logs.is_dir() and not logs.is_symlink() else logs.unlink()
        for link in Path("/var/log/containers").glob("*"):
            if link.is_symlink() and os.readlink(link).startswith(f"{self.work}/"):
                link.unlink()


def options(description, binary):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(binary)
    parser.add_argument("rctr", nargs="?", default=str(TOP / "target/x86_64-unknown-linux-gnu/debug/rctr"))
    parser.add_argument("--cni", action="store_true", help="with CNI plugins instead of the built-in bridge")
    parser.add_argument("--gate", action="append", default=[], help="a feature gate to open, such as EventedPLEG")
    parser.add_argument("--only", help="names of functions, with commas")
    return parser.parse_args()


def show(args, make, shown):
    """Starts what `make` makes, shows each promise on it, and puts the host back as it was."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    registry_tool = TOP / "fixtures/registry.sh"
    was_running = subprocess.run([registry_tool, "url"], capture_output=True).returncode == 0
    registry = peers.call([registry_tool, "start"])
    peers.call(["python3", TOP / "fixtures/images/build.py", "--registry", registry, "busybox"])
    firewall = peers.Firewall()
    sysctls = {name: Path("/proc/sys", name).read_text() for name in SYSCTLS}
    work = Path(tempfile.mkdtemp(prefix="rctr-kubelet-", dir="/var/tmp"))
    node = make(work, registry)
    if args.cni:
        plugins = [{"type": "bridge", "bridge": "rctrk1", "isGateway": True, "ipMasq": True, "ipam": {
            "type": "host-local", "dataDir": f"{work}/ipam", "ranges": [[{"subnet": "10.228.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
            {"type": "portmap", "capabilities": {"portMappings": True}}]
        (node.cni / "10-test.conflist").write_text(json.dumps({"cniVersion": "1.0.0", "name": "test", "plugins": plugins}))
    failed = ["the start"]
    try:
        node.start()
        failed.clear()
        for one in shown:
            name = one.__name__
            if args.only and name not in args.only.split(","):
                continue
            begun = time.monotonic()
            try:
                if (missing := one(node)) is not None:
                    print(f"skipped {name}: {missing}", flush=True)
                    continue
                print(f"ok      {name} ({time.monotonic() - begun:.1f} s): {one.__doc__}", flush=True)
            except Exception:
                failed.append(name)
                print(f"FAILED  {name}: {one.__doc__}\n{traceback.format_exc()}", flush=True)
    finally:
        node.stop()
        peers.call([node.rctr, "internal", "network-remove"], node.env, check=False)
        for bridge in ("rctrk0", "rctrk1"):
            peers.call(["ip", "link", "delete", bridge], check=False)
        firewall.restore()
        for path in sorted(Path("/sys/fs/cgroup").glob("*/kubepods/**"), reverse=True):
            with contextlib.suppress(OSError):
                path.rmdir()
        for name, value in sysctls.items():
            Path("/proc/sys", name).write_text(value)
        if failed:
            shutil.copytree(work, "/tmp/rctr-kubelet-failed", dirs_exist_ok=True, ignore=shutil.ignore_patterns("root", "state", "kubelet", "etcd", "*-upper", "*-work", "*.sock"))
        peers.unmount_below(work)
        if not was_running:
            peers.call([registry_tool, "stop"])
    print(f"{len(failed)} failed" if failed else "all shown")
    sys.exit(1 if failed else 0)
