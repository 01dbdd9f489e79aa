"""What is built in the measurements of `build`: contexts, changes between two builds, and the peers' commands."""

import itertools
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import peers

COUNT = itertools.count()


class Buildah:
    """`buildah bud`, with RUN in a chroot: the fastest it has."""

    name = "buildah"

    def __init__(self, work: Path, registry: str):
        self.work = work / self.name
        self.work.mkdir()
        host = registry.removeprefix("http://")
        (self.work / "registries.conf").write_text(
            f'[[registry]]\nprefix = "docker.io"\nlocation = "{host}"\ninsecure = true\n')
        (self.work / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        self.env = dict(os.environ) | {"CONTAINERS_REGISTRIES_CONF": f"{self.work}/registries.conf", "TMPDIR": str(self.work)}

    def argv(self, *args):
        return ["buildah", "--root", f"{self.work}/root", "--runroot", f"{self.work}/run", "--storage-driver", "overlay", *args]

    def build(self, *flags_and_context):
        policy = ["--signature-policy", f"{self.work}/policy.json", "--isolation", "chroot", "--layers"]
        return self.argv("bud", "-q", *policy, *flags_and_context)

    def stop(self):
        peers.call(self.argv("rmi", "-a", "-f"), self.env, check=False)


class BuildKit:
    """buildkitd and buildctl from the directory $BUILDKIT_DIR, with its OCI worker and host networking."""

    name = "buildkit"

    def __init__(self, work: Path, registry: str, binaries: Path):
        self.work, self.binaries = work / self.name, binaries
        self.work.mkdir()
        host = registry.removeprefix("http://")
        (self.work / "buildkitd.toml").write_text(
            f'[registry."docker.io"]\nmirrors = ["{host}"]\n[registry."{host}"]\nhttp = true\n')
        self.socket = f"unix://{self.work}/buildkitd.sock"
        self.env = dict(os.environ) | {"PATH": f"{binaries}:{os.environ['PATH']}"}
        log = open(self.work / "log", "w")
        self.daemon = subprocess.Popen(
            [binaries / "buildkitd", "--root", self.work / "root", "--addr", self.socket, "--config",
             self.work / "buildkitd.toml", "--oci-worker-net", "host", "--oci-worker-binary", "runc",
             "--containerd-worker=false"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env)
        deadline = time.monotonic() + 30
        while self.daemon.poll() is None and time.monotonic() < deadline:
            if subprocess.run(self.argv("debug", "workers"), capture_output=True, env=self.env).returncode == 0:
                return
            time.sleep(0.2)
        self.stop()
        raise RuntimeError("buildkitd does not start:\n" + (self.work / "log").read_text()[-2000:])

    def argv(self, *args):
        return [str(self.binaries / "buildctl"), "--addr", self.socket, *args]

    def build(self, *flags_and_context):
        *flags, context = flags_and_context
        options = ["--no-cache"] if "--no-cache" in flags else []
        for key, value in zip(flags, flags[1:]):
            if key == "--build-arg":
                options += ["--opt", f"build-arg:{value}"]
        return self.argv("build", "--progress", "plain", "--frontend", "dockerfile.v0", "--local", f"context={context}",
                         "--local", f"dockerfile={context}", *options)

    def stop(self):
        self.daemon.terminate()
        try:
            self.daemon.wait(30)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.daemon.wait()


class Builds:
    """The rows of `build`. `bench` is the [Bench] whose runtimes, rounds and table are used."""

    def __init__(self, bench):
        self.bench, self.work = bench, Path(tempfile.mkdtemp(prefix="builds-", dir=bench.work))
        self.builders = {"rctr": (lambda *a: bench.rctr.argv("build", *a), bench.rctr.env),
                         "docker": (lambda *a: bench.docker.argv("build", *a), bench.docker.env | {"DOCKER_BUILDKIT": "0"})}
        self.own = [Buildah(self.work, bench.registry)]
        directory = os.environ.get("BUILDKIT_DIR")
        if directory:
            self.own.append(BuildKit(self.work, bench.registry, Path(directory)))
        for builder in self.own:
            self.builders[builder.name] = (builder.build, builder.env)

    def close(self):
        for builder in self.own:
            builder.stop()

    def commands(self, *flags, context, fresh=False):
        """The build of every builder; `fresh` gives each one a build argument nobody has used."""
        def command(build):
            return lambda: build(*flags, *(["--build-arg", f"N={next(COUNT)}"] if fresh else []), str(context))

        return {name: (command(build), env) for name, (build, env) in self.builders.items()}

    def measure(self, what, limit, commands, before=None, seconds=120):
        values = self.bench.alternate(commands, before=before, seconds=seconds)
        self.bench.row(f"{what} ({self.bench.rounds} rounds)", values, None, None, limit=limit)
        return values

    def context(self, name, dockerfile) -> Path:
        path = self.work / name
        path.mkdir()
        (path / "Dockerfile").write_text(dockerfile)
        return path

    def run(self):
        lines = ["FROM busybox", "WORKDIR /app"] + [f"ENV V{n}={n}" for n in range(9)]
        lines += [f"RUN echo {n} > /r{n}" for n in range(6)] + ["COPY src /app/src", "COPY last /app/last", 'CMD ["true"]']
        big = self.context("big", "\n".join(lines) + "\n")
        for directory in range(100):
            (big / f"src/d{directory}").mkdir(parents=True)
            for file in range(100):
                (big / f"src/d{directory}/f{file}").write_text(f"{directory} {file}\n" * 20)
        (big / "last").write_text("0")

        def change(path):
            return lambda _: path.write_text(str(next(COUNT)))

        commands = self.commands(context=big)
        self.measure("no-change rebuild, 20 steps, 10,000 files", 150, commands)
        self.measure("one file changed, in the last COPY", 300, commands, before=change(big / "last"))
        self.measure("one of the 10,000 changed", None, commands, before=change(big / "src/d50/f50"))

        steps = 30
        runs = self.context("runs", "FROM busybox\n" + "".join(f"RUN true # {n}\n" for n in range(steps)))
        values = self.bench.alternate(self.commands("--no-cache", context=runs), seconds=180)
        values = {name: value / steps for name, value in values.items()}
        self.bench.row(f"RUN true, uncached, a step of {steps} ({self.bench.rounds} rounds)", values, None, None, limit=25)

        stage = "FROM busybox AS {0}\nARG N\nRUN sleep 5; echo $N > /{0}\n"
        two = self.context("two", stage.format("a") + stage.format("b") + "FROM busybox\nCOPY --from=a /a /\nCOPY --from=b /b /\n")
        self.measure("two independent stages of 5 s", 5300, self.commands(context=two, fresh=True), seconds=100)

        once = self.context("once", "FROM busybox\nARG N\nRUN echo $N > /n\nCMD [\"true\"]\n")
        rctr = self.bench.rctr
        run = rctr.argv("run", "--rm", "--network", "none")

        def before(name):
            rctr.run("build", "-q", "-t", "once", "--build-arg", f"N={next(COUNT)}", str(once))

        built = self.bench.alternate({"rctr": (run + ["once"], rctr.env)}, before=before)
        plain = self.bench.alternate({"rctr": (run + ["busybox", "true"], rctr.env)})
        self.bench.row("run of what was just built, beside a plain run", {"rctr": built["rctr"], "plain run": plain["rctr"]},
                       "plain run", 1.1)

    def packages(self):
        """Packages from their servers, all steps anew; only the base image is there."""
        apt = "apt-get -o Acquire::Retries=3 update && apt-get install -y --no-install-recommends"
        lines = ["FROM debian", f"RUN {apt} python3-pip", "WORKDIR /app", "COPY ca.pem requirements.txt ./",
                 "RUN PIP_CERT=ca.pem pip install --break-system-packages --no-cache-dir -r requirements.txt",
                 "COPY app.py .", 'CMD ["python3", "app.py"]']
        context = self.context("packages", "\n".join(lines) + "\n")
        (context / "requirements.txt").write_text("flask==3.0.3\n")
        (context / "app.py").write_text("import flask\n")
        # Where this machine stands behind a proxy the certificates of the image are not enough.
        shutil.copy("/etc/ssl/certs/ca-certificates.crt", context / "ca.pem")
        values = self.bench.alternate(self.commands("--no-cache", context=context), seconds=900)
        fastest = min((name for name in values if name != "rctr"), key=values.get, default=None)
        what = f"apt and pip, uncached ({self.bench.rounds} rounds)"
        self.bench.row(what, values, fastest, 1 if fastest else None)
