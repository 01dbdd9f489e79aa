"""The measurements of `push`: the image of 500 MB that `save` has, to a registry that has nothing of it."""

import os
import shutil
import tempfile
from pathlib import Path

import peers
from saves import Saves, peak_mb

REGISTRY = Path(__file__).resolve().parent.parent / "fixtures/registry.sh"


class Pushes(Saves):
    """Every push goes to a registry of its own, empty and in memory: what is measured is who pushes, not a disk."""

    def __init__(self, bench):
        self.dir = Path(tempfile.mkdtemp(prefix="rctr-bench-", dir="/dev/shm"))
        self.host = None
        super().__init__(bench)

    def renew_registry(self):
        peers.call([REGISTRY, "stop", self.dir])
        shutil.rmtree(self.dir, ignore_errors=True)
        self.host = peers.call([REGISTRY, "start", self.dir]).removeprefix("http://")

    def commands(self, layout):
        def command(name):
            if name == "skopeo":
                flags = ["--policy", str(self.policy), "copy", "-q", "--dest-tls-verify=false"]
                return ["skopeo", *flags, f"oci:{self.work}/{layout}", f"docker://{self.host}/saved"]
            peer = self.bench.rctr if name == "rctr" else self.bench.docker
            return peer.argv("push", "-q", f"{self.host}/saved")

        envs = {"rctr": self.bench.rctr.env, "skopeo": dict(os.environ), "docker": self.bench.docker.env}
        return {name: (lambda name=name: command(name), env) for name, env in envs.items()}

    def ready(self, name):
        """An empty registry, and a name there for the image."""
        peer = {"rctr": self.bench.rctr, "docker": self.bench.docker}.get(name)
        if peer and self.host:
            peer.run("rmi", f"{self.host}/saved", check=False)
        self.renew_registry()
        if peer:
            peer.run("tag", "saved", f"{self.host}/saved")
        os.sync()  # nobody pays for what was written before

    def unpacked(self, name):
        """The same, and rctr has forgotten what it packed before."""
        rctr = self.bench.rctr
        if name == "rctr":
            rctr.run("rmi", f"{self.host}/saved", check=False)
            rctr.run("rmi", "-f", "saved")
            rctr.run("load", "-q", "-i", f"{self.work}/rctr.tar")
        self.ready(name)

    def run(self):
        bench = self.bench
        bench.rctr.run("builder", "prune", "-a", "-f")
        commands = self.commands("layout")
        values = bench.alternate(commands, before=self.unpacked, seconds=120)
        bench.row(f"push of 500 MB, packed on the way ({bench.rounds} rounds)", values, "skopeo", 1)
        peaks = {}
        for name in ("rctr", "skopeo"):
            self.unpacked(name)
            argv, env = commands[name]
            peaks[name] = peak_mb(argv(), env)
        bench.row("memory of push of 500 MB", peaks, None, None, "MB", limit=100)

        flags = ["--policy", str(self.policy), "copy", "-q", "--src-tls-verify=false"]
        peers.call(["skopeo", *flags, f"docker://{self.host}/saved", f"oci:{self.work}/packed"])
        self.ready("rctr")
        bench.rctr.run("push", "-q", f"{self.host}/saved")
        values = bench.alternate(self.commands("packed"), before=self.ready, seconds=60)
        bench.row(f"push of 500 MB, packed before ({bench.rounds} rounds)", values, "skopeo", 1)

    def close(self):
        peers.call([REGISTRY, "stop", self.dir], check=False)
        shutil.rmtree(self.dir, ignore_errors=True)
        super().close()
