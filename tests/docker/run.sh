#!/bin/bash
# run.sh [--words] [RCTR] - where rctr answers otherwise than Docker; see compare.py. Needs `make setup-bench`.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
registry=$(fixtures/registry.sh start)
exec python3 tests/docker/compare.py --registry "$registry" "$@"
