#!/usr/bin/env python3
"""Asks Docker and rctr the same things and prints where a script would notice a difference.

Both get the same containers (scenarios.py); then `inspect`, listings, logs, exec and a row of bad commands are compared:
standard output and exit code must be equal once ids, times, addresses and paths are put aside. Messages on standard
error are shown with --words; they are not differences, as each program has its own. What differs on purpose is in
expected.py with its reason. Status 1 if anything else differs, 77 if there is no dockerd.
"""

import argparse
import difflib
import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parent.parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(TOP / "benches"))
import peers  # noqa: E402
from expected import EXPECTED  # noqa: E402
import daily  # noqa: E402
import scenarios  # noqa: E402

# What may be otherwise in every run. The order counts.
VARIABLE = (
    (r"\b[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]+ ?(Z|[+-][0-9:]+( [A-Z]+)?)", "<time>"),
    (r"(?i)\b(about an? (minute|hour)|less than a second|[0-9]+ (second|minute|hour|day|week|month|year)s?)( ago)?", "<while>"),
    (r"(?<!sha256:)\b[0-9a-f]{64}\b", "<id>"),
    (r"\b[0-9a-f]{14}…", "<id>…"),
    (r"(?<![0-9a-f:])[0-9a-f]{12}(?![0-9a-f])", "<id12>"),
    (r"\b(10|172)\.[0-9]+\.[0-9]+\.[0-9]+", "<ip>"),
    (r"\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b", "<mac>"),
    (r"\bf[cd][0-9a-f]{2}(:[0-9a-f]{0,4})+", "<ip6>"),
    (r"([:=])(3[2-9]|[45][0-9]|6[0-5])[0-9]{3}\b", r"\1<port>"),
    (r"'rctr |Usage:  rctr ", lambda m: m[0].replace("rctr", "docker")),
)


class Side:
    """One runtime, and what must be put aside in its answers."""

    def __init__(self, peer, work: Path, port: int, busy: int):
        self.peer, self.name = peer, peer.name
        # A subnet that the other one does not use.
        net = {"docker": "10.77.1", "rctr": "10.77.2"}[peer.name]
        self.words = {"work": str(work), "port": port, "busy": busy, "net": net}
        # A port's digits may occur in an id, too.
        self.aside = [(re.escape(str(peer.work)), "<root>"), (re.escape(str(work)), "<work>"),
                      (rf"\b{port}\b", "<port>"), (rf"\b{busy}\b", "<busy>")]

    def ask(self, argv: list[str], seconds=60) -> tuple[int, str, str]:
        argv = self.peer.argv(*[self.fill(word) for word in argv])
        try:
            done = subprocess.run(argv, env=self.peer.env, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds)
        except subprocess.TimeoutExpired:
            return (-1, "", f"no end within {seconds} s")
        return (done.returncode, self.plain(done.stdout), self.plain(done.stderr))

    def fill(self, word: str) -> str:
        for name, value in self.words.items():
            word = word.replace("{%s}" % name, str(value))
        return word

    def plain(self, text) -> str:
        text = text.decode(errors="replace") if isinstance(text, bytes) else text
        for pattern, name in (*self.aside, *VARIABLE):
            text = re.sub(pattern, name, text)
        # Columns are as wide as their widest entry.
        return re.sub(r" {2,}", "  ", text)


class Report:
    def __init__(self, words: bool):
        self.words, self.unexpected, self.intended = words, 0, {}

    def difference(self, question: str, place: str, docker: str, rctr: str):
        for on, at, reason in EXPECTED:
            if re.search(on, question) and re.search(at, place):
                self.intended[reason] = self.intended.get(reason, 0) + 1
                return
        self.unexpected += 1
        print(f"== {question}: {place}")
        print("\n".join(f"   {line}" for line in diff(docker, rctr)))

    def close(self) -> int:
        print(f"\n{self.unexpected} differences; on purpose:")
        for reason, count in self.intended.items():
            print(f"  {count:4}  {reason}")
        return 1 if self.unexpected else 0


def diff(docker: str, rctr: str) -> list[str]:
    a, b = docker.splitlines(), rctr.splitlines()
    if len(a) <= 1 and len(b) <= 1:
        return [f"docker: {docker.rstrip()}", f"rctr:   {rctr.rstrip()}"]
    return [line for line in difflib.unified_diff(a, b, "docker", "rctr", n=0, lineterm="") if not line.startswith("@@")]


def leaves(value, path="") -> dict:
    """Every value of a JSON document by its path; empty lists and objects count as values. Docker has no order in lists
    of mounts and in variables."""
    if re.search(r"\.(Mounts|Binds|Env)$", path) and isinstance(value, list):
        value = sorted(value, key=lambda mount: str(mount.get("Destination", mount.get("Target")) if isinstance(mount, dict) else mount))
    if path.endswith(".Mounts") and isinstance(value, str):
        value = ",".join(sorted(value.split(",")))
    if isinstance(value, dict) and value:
        return {k: v for key, inner in value.items() for k, v in leaves(inner, f"{path}.{key}").items()}
    if isinstance(value, list) and value:
        return {k: v for n, inner in enumerate(value) for k, v in leaves(inner, f"{path}[{n}]").items()}
    return {path: json.dumps(value)}


def compare_json(report: Report, question: str, docker: str, rctr: str, lines: bool):
    try:
        a, b = (leaves([json.loads(line) for line in text.splitlines()] if lines else json.loads(text)) for text in (docker, rctr))
    except ValueError:
        if docker != rctr:
            report.difference(question, "stdout", docker, rctr)
        return
    for path in list(a) + [path for path in b if path not in a]:
        if a.get(path) != b.get(path):
            report.difference(question, path, a.get(path, "(absent)"), b.get(path, "(absent)"))


def compare(report: Report, sides: list[Side], argv: list[str], as_json=False, json_lines=False, seconds=60):
    docker, rctr = (side.ask(argv, seconds) for side in sides)
    if argv[0] in ("images", "diff"):  # Docker has no order among images of the same age, and none among changes.
        docker, rctr = ((code, "\n".join(sorted(out.splitlines())), err) for code, out, err in (docker, rctr))
    question = " ".join(word if word and " " not in word else repr(word) for word in argv)
    if docker[0] != rctr[0]:
        report.difference(question, "exit code", f"{docker[0]} ({docker[2].strip()})", f"{rctr[0]} ({rctr[2].strip()})")
    if as_json or json_lines:
        compare_json(report, question, docker[1], rctr[1], json_lines)
    elif docker[1] != rctr[1]:
        report.difference(question, "stdout", docker[1], rctr[1])
    if bool(docker[2].strip()) != bool(rctr[2].strip()):
        report.difference(question, "stderr", docker[2], rctr[2])
    elif report.words and docker[2] != rctr[2]:
        print(f"-- {question}\n   docker: {docker[2].strip()}\n   rctr:   {rctr[2].strip()}")


def make_containers(report: Report, sides: list[Side], asked):
    for argv in getattr(asked, "BEFORE", []):
        compare(report, sides, argv)
    for name, (how, words) in asked.CONTAINERS.items():
        verb = "create" if how == "made" else "run"
        compare(report, sides, [verb, "--name", name, *shlex.split(words)])


def ask_everything(report: Report, sides: list[Side], asked):
    for name in asked.CONTAINERS:
        compare(report, sides, ["inspect", name], as_json=True)
    for name in asked.IMAGES:
        compare(report, sides, ["image", "inspect", name], as_json=True)
    for argv in asked.QUESTIONS:
        documents = "inspect" in argv[:2] and ("-f" not in argv or argv[-2] == "json")
        one = documents or argv[0] in ("version", "info") and argv[-1] == "json"
        compare(report, sides, argv, as_json=one, json_lines=not one and argv[-1] in ("json", "{{json .}}"))
    for argv in [*asked.BAD, *asked.CHANGES]:
        compare(report, sides, argv)
        for side in sides:
            side.ask(["rm", "-f", "x"])


def free_port(taken: list) -> int:
    taken.append(socket.socket())
    taken[-1].bind(("127.0.0.1", 0))
    return taken[-1].getsockname()[1]


def prepare(work: Path):
    (work / "dir").mkdir(parents=True)
    (work / "dir/inside").write_text("x\n")
    (work / "file").write_text("y\n")
    (work / "labels").write_text("from=file\nbare\n")
    (work / "env").write_text("# comment\nFROM_FILE=1\nQUOTED=\"a b\" # c\nPATH\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rctr", nargs="?", default=str(TOP / "target/x86_64-unknown-linux-gnu/release/rctr"), help="the binary")
    parser.add_argument("--registry", required=True, help="address of the registry with the test images")
    parser.add_argument("--only", choices=["scenarios", "daily"], help="one of the two sets of questions")
    parser.add_argument("--words", action="store_true", help="show messages that are worded otherwise")
    args = parser.parse_args()
    if not shutil.which("dockerd"):
        print("skipped: no dockerd on this machine (apt install docker.io)")
        return 77
    sets = [asked for asked in (scenarios, daily) if args.only in (None, asked.__name__)]
    return max([compare_set(args, asked) for asked in sets])


def compare_set(args, asked) -> int:
    """Makes two new runtimes and asks them everything of one set."""
    work = Path(tempfile.mkdtemp(prefix="rctr-compare-"))
    prepare(work / "files")
    busy = socket.socket()
    busy.bind(("0.0.0.0", 0))
    busy.listen()
    firewall, ports, running = peers.Firewall(), [], []
    try:
        running.append(peers.Docker(work, args.registry))
        running.append(peers.Rctr(work, args.registry, args.rctr))
        sides = [Side(peer, work / "files", free_port(ports), busy.getsockname()[1]) for peer in running]
        for held in ports:
            held.close()
        for image in asked.IMAGES:
            for peer in running:
                peer.run("pull", "-q", image)
        report = Report(args.words)
        make_containers(report, sides, asked)
        ask_everything(report, sides, asked)
        return report.close()
    finally:
        for peer in running:
            peer.stop()
        firewall.restore()
        # A network namespace that dockerd leaves mounted.
        for mounted in (work / "docker/exec/netns").glob("*"):
            subprocess.run(["umount", mounted], check=False)
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
