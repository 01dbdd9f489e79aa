#!/usr/bin/env python3
"""Writes crates/cli/src/compatibility/docker-28.txt: every command and flag of the docker on this machine, by its own help.

A line is a command (`run`), or a command and a flag (`run -d --detach`). Of groups that repeat a command (`container
run`) only what is not at the top is listed. The flags of `build` are those of BuildKit's plugin, listed here: the plugin
is not always installed.
"""
import pathlib
import re
import subprocess

OUT = pathlib.Path(__file__).parents[2] / "crates/cli/src/compatibility/docker-28.txt"

# Of `docker buildx build`, which stands behind `docker build`; those of the first builder are taken and not shown.
BUILD = """--add-host --allow --annotation --attest --build-arg --build-context --builder --cache-from --cache-to --call
--cgroup-parent --check --compress --cpu-period --cpu-quota --cpu-shares --cpuset-cpus --cpuset-mems --debug --file
--force-rm --iidfile --isolation --label --load --memory --memory-swap --metadata-file --network --no-cache
--no-cache-filter --output --platform --progress --provenance --pull --push --quiet --rm --sbom --secret --security-opt
--shm-size --squash --ssh --tag --target --ulimit""".split()
BUILD_SHORT = {"--cpu-shares": "-c", "--debug": "-D", "--file": "-f", "--memory": "-m", "--output": "-o", "--quiet": "-q",
               "--tag": "-t"}


# Groups of the engine; of the others (Swarm's, plugins) only the name is listed.
GROUPS = ("builder", "container", "image", "manifest", "network", "system", "volume")
# What is also at the top, with the same flags.
REPEATED = {
    "builder": ["build"],
    "container": """attach commit cp create diff exec export kill logs pause port rename restart rm run start stats stop top
        unpause update wait""".split(),
    "image": "build history import load pull push save tag".split(),
    "system": ["events", "info"],
}


def help_of(words):
    return subprocess.run(["docker", *words, "--help"], capture_output=True, text=True).stdout


def commands(text):
    found = []
    for part in re.split(r"\n(?=\S)", text):
        if re.match(r"[\w ]*Commands:", part):
            found += re.findall(r"^  ([a-z][\w-]*)\*? ", part, re.M)
    return found


def flags(text):
    part = re.search(r"^(?:Global )?Options:\n((?:[ \t].*\n?|\n)*)", text, re.M)
    if not part:
        return []
    return re.findall(r"^  (?:(-\w), |    )(--[\w-]+)", part.group(1), re.M)


def main():
    lines = []
    top = commands(help_of([]))

    def add(path):
        lines.append(" ".join(path))
        for short, long in sorted(flags(help_of(path)), key=lambda flag: flag[1]):
            if long != "--help" and path[-1] != "build":
                lines.append(" ".join(filter(None, [*path, short, long])))
        if path[-1] == "build":
            for long in BUILD:
                lines.append(" ".join(filter(None, [*path, BUILD_SHORT.get(long), long])))

    for name in sorted(top):
        below = commands(help_of([name]))
        if not below:
            add([name])
            continue
        lines.append(name)
        for verb in sorted(below):
            if name in GROUPS and verb not in REPEATED.get(name, ()):
                add([name, verb])
    OUT.write_text("\n".join(lines) + "\n")


main()
