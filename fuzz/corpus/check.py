#!/usr/bin/env python3
"""Parses the Dockerfiles of well-known projects, listed in projects.tsv, and compares what is found with the list.

    corpus/check.py [DIRECTORY]

The files are not kept here: each is read from DIRECTORY/<repository>/<path> if it is there, and else fetched at its
commit and left there (default: a temporary directory). Gives 0 if all that could be had agree, 1 if one does not,
77 if none could be had.
"""

import concurrent.futures
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent


def fetch(directory, repository, commit, path):
    """The file's place, or None if it can't be had."""
    file = directory / repository / path
    if not file.exists():
        address = f"https://raw.githubusercontent.com/{repository}/{commit}/{urllib.request.quote(path)}"
        try:
            with urllib.request.urlopen(address, timeout=20) as answer:
                text = answer.read()
        except OSError:
            return None
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text)
    return file


def main():
    lines = (HERE / "projects.tsv").read_text().splitlines()
    rows = [line.split("\t") for line in lines if line and not line.startswith("#")]
    with tempfile.TemporaryDirectory() as temporary:
        directory = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else temporary)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            files = list(pool.map(lambda row: fetch(directory, *row[:3]), rows))
        had = [(row, file) for row, file in zip(rows, files) if file]
        if not had:
            print("none of the files could be fetched")
            return 77
        command = ["cargo", "run", "-q", "--release", "--example", "corpus"]
        names = "".join(f"{file}\n" for _, file in had)
        run = subprocess.run(command, cwd=HERE.parent, input=names, stdout=subprocess.PIPE, text=True, check=True)
    wrong = 0
    for (row, _), line in zip(had, run.stdout.splitlines(), strict=True):
        repository, _, path, *expected = row
        found = line.split("\t")[1:]
        if found[:4] != ["ok", *expected] or found[-1] != "stable":
            wrong += 1
            print(f"{repository} {path}: expected {expected}, found {found}")
    projects = len({row[0] for row, _ in had})
    print(f"{len(had)} of {len(rows)} files of {projects} projects, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
