#!/usr/bin/env python3
"""Builds the same Dockerfiles with BuildKit and with rctr, and prints where what they make differs.

Exit code, configuration, history and every file of the image are compared: type, mode, owner, content, extended
attributes; not times. BuildKit's buildkitd and buildctl are those in $BUILDKIT_DIR. Words on the command line choose
cases by what their names begin with. Status 1 if anything differs, 77 if there is no BuildKit.
"""

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parent.parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(TOP / "benches"))
import builds  # noqa: E402
import peers  # noqa: E402
from build_cases import CASES, Dir, File, Link  # noqa: E402

PAX_XATTR = "SCHILY.xattr."


class Tree:
    """Files of an image by path, layer upon layer."""

    def __init__(self):
        self.files = {}

    def add(self, path: str, entry: tuple):
        if not entry[0] == "dir" and self.files.get(path, ("",))[0] == "dir":
            self.remove(path)
        self.files[path] = entry

    def remove(self, path: str, keep=False):
        if not keep:
            self.files.pop(path, None)
        for inner in [name for name in self.files if name.startswith(path.rstrip("/") + "/")]:
            del self.files[inner]

    def archive(self, data: bytes):
        """A layer as a tar archive. What it takes away belongs to the layers below."""
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            members = [(m, "/" + m.name.removeprefix("./").strip("/")) for m in tar]
            for member, path in members:
                name = os.path.basename(path)
                if name == ".wh..wh..opq":
                    self.remove(os.path.dirname(path), keep=True)
                elif name.startswith(".wh."):
                    self.remove(os.path.join(os.path.dirname(path), name[4:]))
            for member, path in members:
                if os.path.basename(path).startswith(".wh.") or path in ("/", "/."):
                    continue
                xattrs = {k.removeprefix(PAX_XATTR): v for k, v in member.pax_headers.items() if k.startswith(PAX_XATTR)}
                common = (oct(member.mode), f"{member.uid}:{member.gid}", json.dumps(xattrs, sort_keys=True))
                if member.isdir():
                    self.add(path, ("dir", *common))
                elif member.issym():
                    self.add(path, ("symlink", member.linkname, *common[1:]))
                elif member.islnk():
                    self.add(path, self.files["/" + member.linkname.removeprefix("./").strip("/")])
                elif member.isfile():
                    digest = hashlib.sha256(tar.extractfile(member).read()).hexdigest()[:16]
                    self.add(path, ("file", f"{member.size} {digest}", *common))
                else:
                    self.add(path, (str(member.type), f"{member.devmajor}:{member.devminor}", *common))


class BuildKit(builds.BuildKit):
    def make(self, case: dict, context: Path, work: Path):
        out = work / "image.tar"
        argv = self.argv("build", "--progress", "plain", "--frontend", "dockerfile.v0", "--local", f"context={context}",
                         "--local", f"dockerfile={context}", "--output", f"type=oci,dest={out}")
        options = [f"build-arg:{arg}" for arg in case.get("args", [])] + [f"label:{arg}" for arg in case.get("labels", [])]
        if "target" in case:
            options.append(f"target={case['target']}")
        for name in case.get("contexts", {}):
            argv += ["--local", f"{name}={context.parent / name}"]
            options.append(f"context:{name}=local:{name}")
        argv += [word for option in options for word in ("--opt", option)]
        argv += [word for secret in case.get("secrets", []) for word in ("--secret", secret.replace("{context}", str(context)))]
        done = subprocess.run(argv, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=200)
        if done.returncode:
            return done, None, None
        with tarfile.open(out) as tar:
            blob = lambda digest: tar.extractfile("blobs/" + digest.replace(":", "/")).read()  # noqa: E731
            manifest = json.loads(blob(json.load(tar.extractfile("index.json"))["manifests"][0]["digest"]))
            while "manifests" in manifest:
                manifest = json.loads(blob(manifest["manifests"][0]["digest"]))
            tree = Tree()
            for layer in manifest["layers"] or []:
                tree.archive(blob(layer["digest"]))
            return done, json.loads(blob(manifest["config"]["digest"])), tree


class Rctr(peers.Rctr):
    def make(self, case: dict, context: Path, work: Path):
        iid = work / "iid"
        argv = self.argv("build", "--progress", "plain", "--iidfile", str(iid), "-t", "compared")
        argv += [word for arg in case.get("args", []) for word in ("--build-arg", arg)]
        argv += [word for arg in case.get("labels", []) for word in ("--label", arg)]
        argv += ["--target", case["target"]] if "target" in case else []
        for name in case.get("contexts", {}):
            argv += ["--build-context", f"{name}={context.parent / name}"]
        argv += [word for secret in case.get("secrets", []) for word in ("--secret", secret.replace("{context}", str(context)))]
        done = subprocess.run([*argv, str(context)], env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=200)
        if done.returncode:
            return done, None, None
        out = work / "saved.tar"
        self.run("save", "-o", str(out), "compared")
        with tarfile.open(out) as tar:
            manifest = json.load(tar.extractfile("manifest.json"))[0]
            tree = Tree()
            for layer in manifest["Layers"]:
                tree.archive(tar.extractfile(layer).read())
            return done, json.load(tar.extractfile(manifest["Config"])), tree


def context(work: Path, files: dict, dockerfile: str | None) -> Path:
    work.mkdir()
    entries = dict(files)
    if dockerfile is not None:
        entries.setdefault("Dockerfile", dockerfile)
    for name, content in entries.items():
        path = work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        match content:
            case Dir(mode):
                path.mkdir(exist_ok=True)
                path.chmod(mode)
            case Link(target):
                path.symlink_to(target)
            case File(data, mode, uid):
                path.write_bytes(data)
                os.chown(path, uid, uid)
                path.chmod(mode)
            case bytes():
                path.write_bytes(content)
            case _:
                path.write_text(content)
    return work


def steps(done) -> list[str]:
    """The names of the steps as the plain view has them; FROM has digests of its own."""
    names = {line.split(" ", 1)[1] for line in done.stderr.splitlines() if line.startswith("#") and " [" in line[:6]}
    # How a line that goes on and its quotes are shown is no matter; nor that a mount counts as a stage.
    names = {re.sub(r"""['"\[\],]|(?<=\[)stage-0 """, "", re.sub(r"\s+", " ", name)).strip() for name in names if not name.startswith(("[internal]", "[context")) and " FROM " not in name}
    return sorted(names)


def history(config: dict) -> list[str]:
    return [f"{'-' if entry.get('empty_layer') else '+'} {entry.get('created_by', '')}" for entry in config.get("history", [])]


def differences(a: tuple, b: tuple) -> list[str]:
    """What BuildKit's result `a` and ours `b` differ in."""
    (a_done, a_config, a_tree), (b_done, b_config, b_tree) = a, b
    shown = []
    if steps(a_done) != steps(b_done):
        shown = [f"steps: {sorted({*steps(a_done)} - {*steps(b_done)})} and {sorted({*steps(b_done)} - {*steps(a_done)})}"]
    if bool(a_done.returncode) != bool(b_done.returncode):
        last = lambda done: "\n      ".join(done.stderr.strip().splitlines()[-4:])  # noqa: E731
        return [f"exit: {a_done.returncode} and {b_done.returncode}\n      {last(a_done)}\n   -- rctr:\n      {last(b_done)}"]
    if a_done.returncode:
        return shown
    found = shown
    for key in sorted({*a_config["config"], *b_config["config"]}):
        one, other = a_config["config"].get(key), b_config["config"].get(key)
        if one != other:
            found.append(f"{key}: {json.dumps(one)} and {json.dumps(other)}")
    for key in ("author", "architecture", "os", "variant"):
        if a_config.get(key) != b_config.get(key):
            found.append(f"{key}: {a_config.get(key)} and {b_config.get(key)}")
    one, other = history(a_config), history(b_config)
    found += [f"history: {x!r} and {y!r}" for x, y in zip(one, other) if x != y]
    if len(one) != len(other):
        found.append(f"history: {one[len(other):]} and {other[len(one):]}")
    layers = [len(config["rootfs"]["diff_ids"] or []) for config in (a_config, b_config)]
    if layers[0] != layers[1]:
        found.append(f"layers: {layers[0]} and {layers[1]}")
    for path in sorted({*a_tree.files, *b_tree.files}):
        one, other = a_tree.files.get(path), b_tree.files.get(path)
        if one != other:
            found.append(f"{path}: {one} and {other}")
    return found


def run(kit: BuildKit, rctr: Rctr, work: Path, chosen: list[str]) -> int:
    wrong = 0
    for name, case in CASES.items():
        if chosen and not any(name.startswith(word) for word in chosen):
            continue
        place = work / f"case-{name.replace(' ', '-').replace('/', '-')}"
        place.mkdir()
        dockerfile = case["dockerfile"].replace("{registry}", rctr.registry.removeprefix("http://"))
        ours = context(place / "context", case.get("files", {}), dockerfile)
        for extra, files in case.get("contexts", {}).items():
            context(place / extra, files, None)
        sides = []
        for side in (kit, rctr):
            (place / side.name).mkdir()
            sides.append(side.make(case, ours, place / side.name))
        found = differences(*sides)
        pattern, reason = case.get("intended", ("^$", ""))
        if len(found) > len(unintended := [line for line in found if not re.search(pattern, line)]):
            print(f"on purpose: {name}: {reason}")
        found = unintended
        wrong += bool(found)
        code = sides[0][0].returncode
        print(f"{'DIFFERS' if found else 'same   '} {name}{' (fails)' if code else ''}", flush=True)
        for line in found:
            print(f"   {line}")
        if code and os.environ.get("SHOW"):
            print("   " + sides[0][0].stderr.strip().splitlines()[-1], "\n   " + sides[1][0].stderr.strip().splitlines()[-1])
        shutil.rmtree(place)
        if "push" in case:
            rctr.run("tag", "compared", f"{rctr.registry.removeprefix('http://')}/{case['push']}")
            rctr.run("push", f"{rctr.registry.removeprefix('http://')}/{case['push']}")
    print(f"{wrong} differ")
    return 1 if wrong else 0


def main() -> int:
    directory = os.environ.get("BUILDKIT_DIR")
    if not directory:
        print("no $BUILDKIT_DIR with buildkitd and buildctl", file=sys.stderr)
        return 77
    registry = peers.call([TOP / "fixtures/registry.sh", "url"])
    binary = os.environ.get("RCTR", str(TOP / "target/x86_64-unknown-linux-gnu/debug/rctr"))
    os.umask(0o22)
    with tempfile.TemporaryDirectory(prefix="build-compare-") as name:
        work = Path(name)
        rctr = Rctr(work, registry, binary)
        kit = BuildKit(work, registry, Path(directory))
        try:
            return run(kit, rctr, work, sys.argv[1:])
        finally:
            kit.stop()
            rctr.stop()


if __name__ == "__main__":
    sys.exit(main())
