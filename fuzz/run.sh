#!/bin/bash
# run.sh NAME [SECONDS] - fuzzes one target, beginning with what earlier runs found (corpus/NAME.tar.zst), and keeps what
# reaches new code. An input that fails is left in artifacts/NAME. Needs a nightly compiler and cargo-fuzz; `layer` root.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
name=$1 seconds=${2:-600}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/found" "$work/kept"
[ ! -f "corpus/$name.tar.zst" ] || tar -C "$work/found" -xf "corpus/$name.tar.zst"
dict=$(ls seeds/"$name".dict 2>/dev/null || :)
run() { nice cargo +nightly fuzz run --fuzz-dir . --features libfuzzer -O -s none "$name" "$@"; }

TMPDIR=/dev/shm run "$work/found" "seeds/$name" -- -max_total_time="$seconds" -timeout=20 ${dict:+-dict="$dict"}
run "$work/kept" "$work/found" "seeds/$name" -- -merge=1 -use_counters=0
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 --mode=644 -C "$work/kept" -cf - . |
    zstd -q -f -19 -o "corpus/$name.tar.zst"
