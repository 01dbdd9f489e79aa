"""Measures rctr beside its peers and says which aims are met.

Every round takes all runtimes in turn, so that what the machine does meanwhile hits them alike. Medians. `cold` means
0.2 s of pause before each command, as a person's command is. Results also go to target/bench.json.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

sys.dont_write_bytecode = True
import peers  # noqa: E402
from builds import Builds  # noqa: E402
from crowds import Crowds  # noqa: E402
from pushes import Pushes  # noqa: E402
from saves import Saves  # noqa: E402
from traffic import Traffic  # noqa: E402

HERE = Path(__file__).resolve().parent
TOP = HERE.parent


LIMIT = 120  # seconds that one command may take


def too_long(*_):
    raise TimeoutError


def timed(argv, env, log) -> float:
    """Milliseconds from start to end of one command, which must succeed."""
    actions = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0), (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
               (os.POSIX_SPAWN_OPEN, 2, str(log), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)]
    program = shutil.which(argv[0])
    signal.alarm(LIMIT)
    start = time.perf_counter()
    pid = os.posix_spawn(program, argv, env, file_actions=actions)
    try:
        _, status = os.waitpid(pid, 0)
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise RuntimeError(f"{' '.join(argv)}: not done after {LIMIT} s") from None
    finally:
        signal.alarm(0)
    took = (time.perf_counter() - start) * 1000
    if os.waitstatus_to_exitcode(status) != 0:
        raise RuntimeError(f"{' '.join(argv)}: status {os.waitstatus_to_exitcode(status)}\n{Path(log).read_text()[-1000:]}")
    return took


class Bench:
    def __init__(self, args, work: Path, registry: str):
        self.args, self.work, self.log = args, work, work / "stderr"
        self.rounds = args.rounds
        self.firewall = peers.Firewall()
        self.rctr = peers.Rctr(work, registry, str(Path(args.rctr).resolve()))
        self.all, self.rows, self.registry = [self.rctr], [], registry
        try:
            self.docker = peers.Docker(work, registry)
            self.all.append(self.docker)
            self.podman = peers.Podman(work, registry)
            self.all.append(self.podman)
            for peer in self.all:
                peer.run("pull", peer.image("busybox"))
        except BaseException:
            self.stop()
            raise

    def stop(self):
        for peer in self.all:
            try:
                peer.stop()
            except Exception as error:  # the others must be stopped too
                print(f"{peer.name}: {error}", file=sys.stderr)
        self.firewall.restore()

    def alternate(self, commands: dict, pause=0.0, before=None, seconds=None) -> dict:
        """Median milliseconds of each `name: (argv, env)`; argv may be a function that gives one. After so many
        seconds ten rounds are enough. A peer that fails is left out of the row."""
        took = {name: [] for name in commands}
        begun = time.monotonic()
        for turn in range(self.args.rounds + 1):
            if turn > 10 and seconds and time.monotonic() - begun > seconds:
                break
            for name in list(took):
                argv, env = commands[name]
                try:
                    if before:
                        before(name)
                    time.sleep(pause)
                    value = timed(argv() if callable(argv) else argv, env, self.log)
                except RuntimeError as error:
                    if name == "rctr":
                        raise
                    print(f"{name} is left out: {error}", file=sys.stderr)
                    del took[name]
                    continue
                if turn:  # the first turn warms up
                    took[name].append(value)
        self.rounds = len(took["rctr"])
        return {name: statistics.median(values) for name, values in took.items()}

    def each(self, *args) -> dict:
        """The same command for every runtime; `{busybox}` and `{big}` are images."""
        return {p.name: (p.argv(*(a.format(busybox=p.image("busybox"), big=p.image("big")) for a in args)), p.env) for p in self.all}

    def row(self, what, values: dict, against, factor, unit="ms", limit=None):
        """Notes a result. The aim: at most `factor` times the value of `against`, and at most `limit`."""
        own = values["rctr"]
        met = (not factor or own <= factor * values.get(against, 0)) and (limit is None or own <= limit)
        ratios = {k: round(own / v, 3) for k, v in values.items() if k != "rctr" and v}
        aims = [f"≤ {factor:.2g} × {against}"] if factor else []
        aims += [f"≤ {limit} {unit}"] if limit is not None else []
        self.rows.append({"what": what, "unit": unit, "values": values, "ratios": ratios, "aim": aims, "met": met})
        shown = ", ".join(f"{k} {v:.2f}" for k, v in values.items() if k != "rctr")
        verdict = ("met" if met else "MISSED") if aims else ""
        print(f"| {what} | {own:.2f} {unit} | {shown} | {', '.join(f'{k} {v}' for k, v in ratios.items())} "
              f"| {' and '.join(aims)} | {verdict} |", flush=True)

    # -- what is measured ---------------------------------------------------------------------------------------

    def run(self):
        bridge = self.each("run", "--rm", "{busybox}", "true")
        self.row("run --rm true, bridge, warm", self.alternate(bridge), "docker", 1 / 12)
        self.row("run --rm true, bridge, cold", self.alternate(bridge, pause=0.2), "docker", 1 / 12, limit=30)
        none = self.each("run", "--rm", "--network", "none", "{busybox}", "true")
        rootfs = self.work / "rootfs"
        rootfs.mkdir()
        self.unpack("busybox", rootfs)
        runc = peers.Runc(self.work, rootfs, self.docker.bundle())
        none["runc"] = (runc.argv, dict(os.environ))
        self.row("run --rm --network none true, warm", self.alternate(none), "runc", 0.4)
        self.row("run --rm --network none true, cold", self.alternate(none, pause=0.2), "runc", 0.4)
        self.bare(rootfs, none, bridge)

    def bare(self, rootfs, none, bridge):
        program = self.work / "bare"
        peers.call(["gcc", "-O2", "-static", "-o", program, HERE / "bare.c"])
        dirs = [self.work / name for name in ("upper", "overlay-work", "merged")]
        for path in dirs:
            path.mkdir()
        argv = [str(program), str(rootfs), *map(str, dirs)]
        env = dict(os.environ)
        self.row("the same by bare syscalls", self.alternate({"rctr": none["rctr"], "bare": (argv, env)}), None, None)
        values = self.alternate({"rctr": bridge["rctr"], "bare": (argv + ["net"], env)})
        self.row("the same by bare syscalls, with netns", values, None, None)

    def memory(self, count=10):
        values, daemons = {}, {}
        for peer in self.all:
            before = set(peers.pids_of(*peer.helpers))
            for _ in range(count):
                peer.run("run", "-d", peer.image("busybox"), "sleep", "100000")
            time.sleep(2)
            helpers = set(peers.pids_of(*peer.helpers)) - before
            values[peer.name] = sum(map(peers.pss_kib, helpers)) / 1024 / count
            daemons[peer.name] = sum(map(peers.pss_kib, peers.pids_of(*peer.daemons))) / 1024 if peer.daemons else 0
            peer.remove_all()
        self.row("memory per idle container", values, None, None, "MB", limit=0.6)
        self.row("memory of daemons", daemons, None, None, "MB", limit=0)

    def pull(self):
        commands = self.each("pull", "-q", "{big}")
        layer = self.work / "layer"
        layer.write_bytes(self.layers("big")[0])
        plain = self.work / "plain"
        commands["gzip|tar"] = (["sh", "-c", f"mkdir {plain} && gzip -dc {layer} | tar -x -C {plain}"], dict(os.environ))

        def before(name):
            for peer in self.all:
                if peer.name == name:
                    peer.run("rmi", "-f", peer.image("big"), check=False)
            shutil.rmtree(plain, ignore_errors=True)
            os.sync()  # nobody pays for what was written before

        values = self.alternate(commands, before=before, seconds=150)
        self.row(f"pull of a 61 MB layer from loopback ({self.rounds} rounds)", values, None, None, limit=1000)
        before("rctr")

    def build(self):
        with closing(Builds(self)) as builds:
            builds.run()

    def packages(self):
        with closing(Builds(self)) as builds:
            builds.packages()

    def save(self):
        with closing(Saves(self)) as saves:
            saves.run()

    def push(self):
        with closing(Pushes(self)) as pushes:
            pushes.run()

    def starts(self):
        Crowds(self).starts()

    def crowd(self):
        Crowds(self).crowd()

    def logs(self):
        Crowds(self).logs()

    def ports(self):
        Traffic(self).ports()

    def streams(self):
        Traffic(self).streams()

    def names(self):
        Traffic(self).names()

    def exec(self):
        for peer in self.all:
            peer.run("run", "-d", "--name", "exec", peer.image("busybox"), "sleep", "100000")
        commands = self.each("exec", "exec", "true")
        self.row("exec true, warm", self.alternate(commands), "docker", 1 / 8)
        self.row("exec true, cold", self.alternate(commands, pause=0.2), "docker", 1 / 8)
        for peer in self.all:
            peer.run(*peer.remove, "exec")

    def ps(self, count=200):
        two = [self.rctr, self.docker]  # podman takes minutes to start so many
        for peer in two:
            for _ in range(count):
                peer.run("run", "-d", "--network", "none", peer.image("busybox"), "sleep", "100000")
        commands = {peer.name: (peer.argv("ps"), peer.env) for peer in two}
        self.row(f"ps with {count} containers", self.alternate(commands), None, None, limit=20)
        for peer in two:
            peer.remove_all()

    # -- images -------------------------------------------------------------------------------------------------

    def layers(self, name) -> list[bytes]:
        import urllib.request

        def get(path):
            request = urllib.request.Request(f"{self.registry}/v2/library/{name}/{path}")
            request.add_header("Accept", "application/vnd.oci.image.manifest.v1+json")
            return urllib.request.urlopen(request).read()

        return [get(f"blobs/{layer['digest']}") for layer in json.loads(get("manifests/latest"))["layers"]]

    def unpack(self, name, into: Path):
        for layer in self.layers(name):
            subprocess.run(["tar", "-xz", "-C", into], input=layer, check=True)


def main():
    names = ["run", "exec", "ps", "memory", "pull", "build", "packages", "save", "push",
             "starts", "crowd", "logs", "ports", "streams", "names"]
    parser = argparse.ArgumentParser(prog="run.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="rounds behind each median (default 20)")
    parser.add_argument("--only", default=",".join(names), help=f"of {', '.join(names)}")
    parser.add_argument("rctr", nargs="?", default=next(map(str, TOP.glob("target/*/release/rctr")), None))
    args = parser.parse_args()
    signal.signal(signal.SIGALRM, too_long)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all is stopped and removed
    if not args.rctr:
        parser.error("no release build of rctr: run `make`")
    fixtures = TOP / "fixtures"
    was_running = subprocess.run([fixtures / "registry.sh", "url"], capture_output=True).returncode == 0
    registry = peers.call([fixtures / "registry.sh", "start"])
    peers.call(["python3", fixtures / "images/build.py", "--registry", registry, "busybox", "big", "debian"])
    work = Path(tempfile.mkdtemp(prefix="rctr-bench-", dir="/var/tmp"))
    bench = None
    try:
        bench = Bench(args, work, registry)
        print(f"medians of {args.rounds} rounds, {os.cpu_count()} processors, Linux {os.uname().release}\n\n"
              "| work | rctr | peers | rctr / peer | aim | |\n|---|---|---|---|---|---|", flush=True)
        for name in args.only.split(","):
            getattr(bench, name)()
    finally:
        if bench:
            bench.stop()
            (TOP / "target").mkdir(exist_ok=True)
            (TOP / "target/bench.json").write_text(json.dumps(bench.rows, indent=1))
        peers.unmount_below(work)
        if not was_running:
            peers.call([fixtures / "registry.sh", "stop"])
    sys.exit(0 if all(row["met"] for row in bench.rows) else 1)


if __name__ == "__main__":
    main()
