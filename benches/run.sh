#!/bin/bash
# run.sh [--rounds N] [--only NAME,…] [RCTR] - the figures of rctr beside docker, podman and runc, all on the same
# images from the same registry, alternately in one run. Needs `make setup-bench`; see bench.py.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
exec python3 benches/bench.py "$@"
