#!/bin/bash
# kubeadm.sh BINARIES [RCTR] - `kubeadm init` on `rctr cri`, the control plane as its pods, and `kubeadm reset`.
#
# BINARIES is a directory with kubeadm, kubelet, kubectl, kube-apiserver, kube-controller-manager, kube-scheduler, etcd and
# crictl, all built from their public sources. All of it happens in namespaces of its own: the host's /etc, ports and
# firewall are not touched, and the registry is another one than the tests'. See kubeadm.py for what is shown.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
export RCTR_TEST_REGISTRY_DIR=${RCTR_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rctr-fixtures}/kubeadm
# Made here if it is not there yet: within there is no network to make it from.
python3 -Bc 'import sys; sys.path.insert(0, "fixtures/images"); import debian; debian.base()'
exec unshare --mount --net --propagation private sh -c 'ip link set lo up && exec python3 tests/kubelet/kubeadm.py "$@"' sh "$@"
