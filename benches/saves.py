"""The measurements of `save` and `load`: one image of 500 MB that does not compress, to a file and back."""

import os
import subprocess
from pathlib import Path

import peers

SIZE = 500_000_000


def peak_mb(argv, env) -> float:
    """The most memory that a command held at once."""
    pid = os.posix_spawnp(argv[0], argv, env, file_actions=[(os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0)])
    _, status, usage = os.wait4(pid, 0)
    if os.waitstatus_to_exitcode(status):
        raise RuntimeError(f"{' '.join(argv)}: status {os.waitstatus_to_exitcode(status)}")
    return usage.ru_maxrss / 1024


class Saves:
    """An image built by rctr; its peers have it from a layout (skopeo) and from what rctr saved (docker, podman)."""

    def __init__(self, bench):
        self.bench, self.work = bench, bench.work / "saves"
        context = self.work / "context"
        context.mkdir(parents=True)
        with open(context / "random", "wb") as file:
            for _ in range(SIZE // 1_000_000):
                file.write(os.urandom(1_000_000))
        (context / "Dockerfile").write_text("FROM busybox\nCOPY random /\n")
        rctr = bench.rctr
        layout = f"type=oci,tar=false,compression=uncompressed,force-compression=true,dest={self.work}/layout"
        rctr.run("build", "-q", "-t", "saved", str(context))
        rctr.run("build", "-q", "-o", layout, str(context))
        (context / "random").unlink()
        rctr.run("save", "-o", f"{self.work}/rctr.tar", "saved")
        bench.docker.run("load", "-q", "-i", f"{self.work}/rctr.tar")
        self.policy = self.work / "policy.json"
        self.policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')

    def argv(self, name, out: Path) -> list[str]:
        if name == "skopeo":
            return ["skopeo", "--policy", str(self.policy), "copy", "-q", f"oci:{self.work}/layout", f"docker-archive:{out}"]
        peer = self.bench.rctr if name == "rctr" else self.bench.docker
        return peer.argv("save", "-o", str(out), "saved")

    def run(self):
        bench, out = self.bench, self.work / "out.tar"
        envs = {"rctr": bench.rctr.env, "skopeo": dict(os.environ), "docker": bench.docker.env}

        def before(_):
            out.unlink(missing_ok=True)
            os.sync()  # nobody pays for what was written before

        commands = {name: (self.argv(name, out), env) for name, env in envs.items()}
        values = bench.alternate(commands, before=before, seconds=60)
        bench.row(f"save of 500 MB ({bench.rounds} rounds)", values, "skopeo", 1)
        peaks = {}
        for name in ("rctr", "skopeo"):
            before(name)
            peaks[name] = peak_mb(*commands[name])
        bench.row("memory of save of 500 MB", peaks, None, None, "MB", limit=100)

        def forget(name):
            peer = bench.rctr if name == "rctr" else bench.docker
            peer.run("rmi", "-f", "saved", check=False)
            os.sync()

        bench.rctr.run("builder", "prune", "-a", "-f")
        commands = {
            peer.name: (peer.argv("load", "-q", "-i", f"{self.work}/rctr.tar"), peer.env) for peer in (bench.rctr, bench.docker)
        }
        values = bench.alternate(commands, before=forget, seconds=60)
        bench.row(f"load of 500 MB ({bench.rounds} rounds)", values, "docker", 1)
        forget("rctr")
        peaks = {"rctr": peak_mb(*commands["rctr"])}
        bench.row("memory of load of 500 MB", peaks, None, None, "MB", limit=100)

    def close(self):
        subprocess.run(["rm", "-rf", str(self.work)], check=False)
        for peer in (self.bench.rctr, self.bench.docker):
            peers.call(peer.argv("rmi", "-f", "saved"), peer.env, check=False)
