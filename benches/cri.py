"""Measures `rctr cri` beside containerd as a kubelet would use them: the same calls, the same CNI plugins, in turn.

    cri.py [--rounds N] [--pods N] [RCTR]

Beside Debian's containerd, the newer one in $CONTAINERD_DIR is measured if that is set. Medians; needs grpcio and
grpcio-tools (a virtual environment in target/bench-venv is made for them). Results also go to target/bench-cri.json.
"""

import argparse
import concurrent.futures
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True
import peers  # noqa: E402

HERE = Path(__file__).resolve().parent
TOP = HERE.parent
VENV = TOP / "target/bench-venv"


def with_grpc():
    """Goes on in a Python that has gRPC."""
    try:
        import grpc_tools  # noqa: F401
    except ImportError:
        python = VENV / "bin/python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        subprocess.run([VENV / "bin/pip", "-q", "install", "grpcio", "grpcio-tools"], check=True)
        if sys.executable == str(python):
            raise
        os.execv(python, [str(python), *sys.argv])


class Api:
    """The interface's messages and stubs, made from rctr's own description of it."""

    def __init__(self, work: Path):
        from grpc_tools import protoc

        proto = TOP / "crates/cri/proto"
        if protoc.main(["", f"-I{proto}", f"--python_out={work}", f"--grpc_python_out={work}", "runtime.v1.proto"]):
            raise RuntimeError("protoc failed")
        sys.path.insert(0, str(work))
        import importlib

        # protoc turns the dots of a file name into directories.
        (work / "runtime").mkdir(exist_ok=True)
        self.messages = importlib.import_module("runtime.v1_pb2")
        self.stubs = importlib.import_module("runtime.v1_pb2_grpc")


class Runtime:
    """A CRI server with directories, plugins' configuration and a bridge of its own."""

    daemons: tuple = ()
    helpers: tuple = ()

    def __init__(self, name, number, work: Path, registry: str, api: Api):
        import grpc

        self.name, self.work, self.registry, self.api = name, work / name, registry, api
        self.host = registry.removeprefix("http://")
        self.socket = self.work / "cri.sock"
        self.bridge = f"rctrc{number}"
        self.cni = self.work / "cni"
        self.cni.mkdir(parents=True)
        plugins = [{"type": "bridge", "bridge": self.bridge, "isGateway": True, "ipMasq": True,
                    "ipam": {"type": "host-local", "dataDir": str(self.work / "ipam"), "routes": [{"dst": "0.0.0.0/0"}],
                             "ranges": [[{"subnet": f"10.{230 + number}.0.0/16"}]]}},
                   {"type": "portmap", "capabilities": {"portMappings": True}}]
        (self.cni / "10-bench.conflist").write_text(
            json.dumps({"cniVersion": "1.0.0", "name": f"bench{number}", "plugins": plugins}))
        self.log = open(self.work / "log", "w")
        before = set(peers.pids_of(*self.daemons))
        self.daemon = subprocess.Popen(self.argv(), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=self.env())
        # It comes back at once when the server does.
        options = [(f"grpc.{which}_reconnect_backoff_ms", 10) for which in ("initial", "min", "max")]
        self.channel = grpc.insecure_channel(f"unix://{self.socket}", [("grpc.default_authority", "localhost"), *options])
        try:
            grpc.channel_ready_future(self.channel).result(60)
            self.runtime = api.stubs.RuntimeServiceStub(self.channel)
            self.images = api.stubs.ImageServiceStub(self.channel)
            deadline = time.monotonic() + 60
            while not all(c.status for c in self.call("Status", {}).status.conditions):
                if time.monotonic() > deadline:
                    raise RuntimeError(str(self.call("Status", {})))
                time.sleep(0.1)
        except BaseException as error:
            self.stop()
            raise RuntimeError(f"{name} does not start: {error}\n" + (self.work / "log").read_text()[-3000:]) from error
        self.own = set(peers.pids_of(*self.daemons)) - before

    def env(self):
        return dict(os.environ)

    def image(self, name):
        return f"docker.io/library/{name}:latest"

    def call(self, rpc, request: dict, timeout=120):
        from google.protobuf import json_format

        service = self.images if hasattr(self.images, rpc) else self.runtime
        message = getattr(self.api.messages, f"{rpc}Request")()
        return getattr(service, rpc)(json_format.ParseDict(request, message), timeout=timeout)

    def pull(self):
        return self.call("PullImage", {"image": {"image": self.image("busybox")}}).image_ref

    # -- what a kubelet does to a pod of one container ----------------------------------------------------------------

    def pod_config(self, number):
        return {"metadata": {"name": f"pod{number}", "uid": f"{self.name}-{number}-{time.monotonic_ns()}", "namespace": "bench"},
                "hostname": f"pod{number}", "log_directory": str(self.work / f"logs/{number}"),
                "linux": {"cgroup_parent": f"/rctr-bench-{self.name}", "security_context": {"namespace_options": {"pid": "CONTAINER"}}}}

    def run_pod(self, config):
        return self.call("RunPodSandbox", {"config": config}).pod_sandbox_id

    def run_container(self, pod, config, image):
        container = {"metadata": {"name": "main"}, "image": {"image": image}, "command": ["sleep", "100000"], "log_path": "main.log",
                     "linux": {"resources": {"cpu_shares": 102, "memory_limit_in_bytes": 64 << 20},
                               "security_context": {"namespace_options": {"pid": "CONTAINER"}}}}
        made = self.call("CreateContainer", {"pod_sandbox_id": pod, "config": container, "sandbox_config": config}).container_id
        self.call("StartContainer", {"container_id": made})
        return made

    def memory(self) -> tuple:
        """MB of the daemon, and of all the helpers together (pause processes count as helpers)."""
        daemon = sum(peers.pss_kib(pid) for pid in self.own) / 1024
        return daemon, sum(peers.pss_kib(pid) for pid in peers.pids_of(*self.helpers)) / 1024

    def cpu_ticks(self):
        ticks = 0
        for pid in self.own:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks

    def clean(self):
        for pod in self.call("ListPodSandbox", {}).items:
            self.call("StopPodSandbox", {"pod_sandbox_id": pod.id})
            self.call("RemovePodSandbox", {"pod_sandbox_id": pod.id})

    def restart(self, pods) -> float:
        """Kills the daemon and starts it again: seconds until all pods are told as ready."""
        self.daemon.kill()
        self.daemon.wait()
        before = set(peers.pids_of(*self.daemons))
        begun = time.perf_counter()
        self.daemon = subprocess.Popen(self.argv(), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=self.env())
        while time.perf_counter() < begun + 60:
            try:
                if sum(p.state == 0 for p in self.call("ListPodSandbox", {}, 5).items) == pods:
                    self.own = set(peers.pids_of(*self.daemons)) - before
                    return time.perf_counter() - begun
            except Exception:  # it does not answer yet
                time.sleep(0.005)
        raise RuntimeError(f"{self.name} does not find its pods")

    def stop(self):
        try:
            if hasattr(self, "runtime"):
                self.clean()
        finally:
            self.daemon.terminate()
            try:
                self.daemon.wait(30)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait()
            peers.call(["ip", "link", "delete", self.bridge], check=False)


class Rctr(Runtime):
    daemons, helpers = ("rctr",), ("rctr-monitor",)
    binary = ""

    def argv(self):
        (self.work / "config.toml").write_text(
            f'[registry."docker.io"]\nmirrors = ["{self.registry}"]\n'
            f'[network]\nbridge = "rctrb1"\nsubnet = "10.240.0.0/16"\n'
            f'[cri]\ncni_conf_dir = "{self.cni}"\ncni_bin_dirs = ["/usr/lib/cni"]\n')
        return [self.binary, "cri", "--listen", f"unix://{self.socket}"]

    def env(self):
        return dict(os.environ) | {"RCTR_ROOT": f"{self.work}/root", "RCTR_STATE": f"{self.work}/state",
                                   "RCTR_CONFIG": f"{self.work}/config.toml"}


class Containerd(Runtime):
    daemons, helpers = ("containerd",), ("containerd-shim-runc-v2",)
    directory = None  # of another containerd than the system's

    def argv(self):
        hosts = self.work / "hosts/docker.io"
        hosts.mkdir(parents=True, exist_ok=True)
        (hosts / "hosts.toml").write_text(f'[host."{self.registry}"]\n  capabilities = ["pull", "resolve"]\n')
        pause = self.image("pause")
        cni = f'bin_dir = "/usr/lib/cni"\n{{}}conf_dir = "{self.cni}"\n'
        if self.directory:
            cri = (f"version = 3\n[plugins.'io.containerd.cri.v1.images'.pinned_images]\nsandbox = '{pause}'\n"
                   f"[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '{hosts.parent}'\n"
                   f"[plugins.'io.containerd.cri.v1.runtime']\nrestrict_oom_score_adj = true\n"
                   f"[plugins.'io.containerd.cri.v1.runtime'.cni]\nbin_dirs = ['/usr/lib/cni']\nconf_dir = '{self.cni}'\n")
        else:
            cri = (f'version = 2\n[plugins."io.containerd.grpc.v1.cri"]\nsandbox_image = "{pause}"\nrestrict_oom_score_adj = true\n'
                   f'[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "{hosts.parent}"\n'
                   f'[plugins."io.containerd.grpc.v1.cri".cni]\n' + cni.format(""))
        config = self.work / "config.toml"
        config.write_text(f'{cri.split(chr(10), 1)[0]}\nroot = "{self.work}/root"\nstate = "{self.work}/state"\n'
                          f'[grpc]\naddress = "{self.socket}"\n{cri.split(chr(10), 1)[1]}')
        binary = Path(self.directory or "/usr/bin") / "containerd"
        return [str(binary), "--config", str(config)]

    def env(self):
        path = f"{self.directory}:{os.environ['PATH']}" if self.directory else os.environ["PATH"]
        return dict(os.environ) | {"PATH": path}


class Newer(Containerd):
    directory = os.environ.get("CONTAINERD_DIR")


class Table:
    def __init__(self):
        self.rows = []
        print("| work | rctr | peers | rctr / peer | aim | |\n|---|---|---|---|---|---|", flush=True)

    def row(self, what, values: dict, factor=None, unit="ms"):
        """The aim: at most `factor` times the value of the system's containerd."""
        own, base = values["rctr"], values.get("containerd")
        met = not factor or not base or own <= factor * base
        ratios = {k: round(own / v, 3) for k, v in values.items() if k != "rctr" and v}
        self.rows.append({"what": what, "unit": unit, "values": values, "ratios": ratios, "factor": factor, "met": met})
        shown = ", ".join(f"{k} {v:.2f}" for k, v in values.items() if k != "rctr")
        aim = f"≤ {factor:.2g} × containerd" if factor else ""
        print(f"| {what} | {own:.2f} {unit} | {shown} | {', '.join(f'{k} {v}' for k, v in ratios.items())} | {aim} "
              f"| {'met' if met else 'MISSED'} |" if factor else
              f"| {what} | {own:.2f} {unit} | {shown} | {', '.join(f'{k} {v}' for k, v in ratios.items())} | | |", flush=True)


def one_pod(runtime: Runtime, number: int, took: dict):
    image = runtime.image_id

    def timed(step, work):
        start = time.perf_counter()
        result = work()
        took.setdefault(step, []).append((time.perf_counter() - start) * 1000)
        return result

    config = runtime.pod_config(number)
    pod = timed("RunPodSandbox", lambda: runtime.run_pod(config))
    container = timed("CreateContainer + StartContainer", lambda: runtime.run_container(pod, config, image))
    timed("ExecSync true", lambda: runtime.call("ExecSync", {"container_id": container, "cmd": ["true"], "timeout": 10}))
    timed("StopContainer", lambda: runtime.call("StopContainer", {"container_id": container, "timeout": 0}))
    timed("RemoveContainer", lambda: runtime.call("RemoveContainer", {"container_id": container}))
    timed("StopPodSandbox", lambda: runtime.call("StopPodSandbox", {"pod_sandbox_id": pod}))
    timed("RemovePodSandbox", lambda: runtime.call("RemovePodSandbox", {"pod_sandbox_id": pod}))


AIMS = {"RunPodSandbox": 1 / 3, "CreateContainer + StartContainer": 1 / 2, "StopContainer": 1 / 2, "RemovePodSandbox": 1 / 2}


def single(runtimes, rounds, table):
    took = {r.name: {} for r in runtimes}
    for turn in range(rounds + 1):
        for runtime in runtimes:
            one_pod(runtime, turn, took[runtime.name] if turn else {})
    for step in took["rctr"]:
        table.row(step, {name: statistics.median(steps[step]) for name, steps in took.items()}, AIMS.get(step))


def many(runtimes, count, table):
    """One runtime after the other: their pods would take the machine from each other."""
    started, memory, polls, idle, found = {}, {}, {}, {}, {}
    for runtime in runtimes:
        def start(number, runtime=runtime):
            config = runtime.pod_config(number)
            return runtime.run_container(runtime.run_pod(config), config, runtime.image_id)

        begun = time.perf_counter()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            containers = list(pool.map(start, range(count)))
        started[runtime.name] = time.perf_counter() - begun
        time.sleep(2)
        daemon, helpers = runtime.memory()
        pauses = sum(peers.pss_kib(pid) for pid in runtime_pauses(runtime)) / 1024
        memory[runtime.name] = (daemon, (helpers + pauses) / count)
        for rpc, request in (("ListContainers", {}), ("ListPodSandbox", {}), ("ContainerStatus", {"container_id": containers[0]})):
            times = []
            for _ in range(200):
                begun = time.perf_counter()
                runtime.call(rpc, request)
                times.append((time.perf_counter() - begun) * 1000)
            for which, place in (("p50", 100), ("p99", 197)):
                polls.setdefault(f"{rpc} at {count} pods, {which}", {})[runtime.name] = sorted(times)[place]
        polls.setdefault(f"ListContainers at {count} pods after a change, p50", {})[runtime.name] = after_changes(runtime)
        ticks = runtime.cpu_ticks()
        time.sleep(10)
        idle[runtime.name] = (runtime.cpu_ticks() - ticks) / os.sysconf("SC_CLK_TCK") * 10
        found[runtime.name] = runtime.restart(count)
        runtime.clean()
    table.row(f"{count} pods, 8 at once: all running", started, unit="s")
    table.row("memory of the daemon", {n: m[0] for n, m in memory.items()}, unit="MB")
    table.row("memory per pod beside its workload", {n: m[1] for n, m in memory.items()}, unit="MB")
    table.row(f"memory of all for {count} pods", {n: m[0] + m[1] * count for n, m in memory.items()}, 1 / 5, unit="MB")
    for what, values in polls.items():
        table.row(what, values)
    table.row(f"restart until {count} pods are found", found, unit="s")
    table.row("processor time when idle, ms per second", idle)


def after_changes(runtime):
    """Milliseconds of a list that is asked for right after a container was made."""
    config, times = runtime.pod_config("changing"), []
    pod = runtime.run_pod(config)
    for number in range(21):
        container = {"metadata": {"name": f"made{number}"}, "image": {"image": runtime.image_id}, "command": ["true"]}
        runtime.call("CreateContainer", {"pod_sandbox_id": pod, "config": container, "sandbox_config": config})
        begun = time.perf_counter()
        runtime.call("ListContainers", {})
        times.append((time.perf_counter() - begun) * 1000)
    runtime.call("StopPodSandbox", {"pod_sandbox_id": pod})
    runtime.call("RemovePodSandbox", {"pod_sandbox_id": pod})
    return statistics.median(times)


def runtime_pauses(runtime):
    """Sandbox processes of containerd: they run the pause image's program."""
    if runtime.name == "rctr":
        return []
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "cmdline").read_bytes() == b"sleep\x002147483647\0":
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def pulls(runtimes, rounds, table):
    """Before the first pod: containerd keeps the pause image from then on, which has the very layer of busybox, so that its pulls
    would fetch no layer any more."""
    fetched, present = {r.name: [] for r in runtimes}, {r.name: [] for r in runtimes}
    for turn in range(rounds + 1):
        for runtime in runtimes:
            runtime.call("RemoveImage", {"image": {"image": runtime.image("busybox")}})
            for times in (fetched, present):
                begun = time.perf_counter()
                runtime.image_id = runtime.pull()
                if turn:
                    times[runtime.name].append((time.perf_counter() - begun) * 1000)
    table.row("PullImage of busybox", {name: statistics.median(values) for name, values in fetched.items()}, 1)
    table.row("PullImage of busybox, which is there", {name: statistics.median(values) for name, values in present.items()}, 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--pods", type=int, default=100)
    parser.add_argument("rctr", nargs="?", default=next(map(str, TOP.glob("target/*/release/rctr")), None))
    args = parser.parse_args()
    with_grpc()
    Rctr.binary = str(Path(args.rctr).resolve())
    fixtures = TOP / "fixtures"
    was_running = subprocess.run([fixtures / "registry.sh", "url"], capture_output=True).returncode == 0
    registry = peers.call([fixtures / "registry.sh", "start"])
    peers.call(["python3", fixtures / "images/build.py", "--registry", registry, "busybox", "pause"])
    work = Path(tempfile.mkdtemp(prefix="rctr-bench-cri-", dir="/var/tmp"))
    firewall, runtimes = peers.Firewall(), []
    table = None
    try:
        api = Api(work)
        kinds = [("rctr", Rctr), ("containerd", Containerd)]
        kinds += [("containerd-new", Newer)] if Newer.directory else []
        for number, (name, kind) in enumerate(kinds):
            runtimes.append(kind(name, number, work, registry, api))
            runtimes[-1].image_id = runtimes[-1].pull()
            print(f"{name}: {runtimes[-1].call('Version', {}).runtime_version}")
        table = Table()
        pulls(runtimes, args.rounds, table)
        single(runtimes, args.rounds, table)
        many(runtimes, args.pods, table)
    finally:
        for runtime in runtimes:
            try:
                runtime.stop()
            except Exception as error:  # the others must be stopped too
                print(f"{runtime.name}: {error}", file=sys.stderr)
        firewall.restore()
        if table:
            (TOP / "target/bench-cri.json").write_text(json.dumps(table.rows, indent=1))
        peers.unmount_below(work)
        for name in ("rctr", "containerd", "containerd-new"):
            for path in Path("/sys/fs/cgroup").glob(f"**/rctr-bench-{name}"):
                peers.call(["rmdir", str(path)], check=False)
        if not was_running:
            peers.call([fixtures / "registry.sh", "stop"])
    sys.exit(0 if all(row["met"] for row in table.rows) else 1)


if __name__ == "__main__":
    main()
