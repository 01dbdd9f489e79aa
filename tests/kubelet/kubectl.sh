#!/bin/bash
# kubectl.sh BINARIES [RCTR] - a cluster of one node on `rctr cri`, and kubectl as its user.
#
# BINARIES is a directory with etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubelet and kubectl, all
# built from their public sources. What the kubelet changes on the host is put back. See kubectl.py for what is shown.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
exec python3 tests/kubelet/kubectl.py "$@"
