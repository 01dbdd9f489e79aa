#!/bin/bash
# run.sh KUBELET [RCTR] - a real kubelet, alone on its node, with static pods on `rctr cri`.
#
# KUBELET is a kubelet built from its public source (any version whose CRI is v1). CRICTL may name a crictl, for exec,
# attach and port-forward as clients do them. What the kubelet changes on the host (kernel parameters, iptables) is put
# back. See run.py for what is shown.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
exec python3 tests/kubelet/run.py "$@"
