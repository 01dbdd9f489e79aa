"""A control plane that kubeadm makes of pods on `rctr cri`. Prints a line for each promise; see kubeadm.sh.

BINARIES is a directory with kubeadm, kubelet, kubectl, kube-apiserver, kube-controller-manager, kube-scheduler, etcd and crictl.
"""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True
from node import TOP, Node, options, peers, show  # noqa: E402

sys.path.insert(0, str(TOP / "fixtures/images"))
import debian  # noqa: E402
import oci  # noqa: E402
import small  # noqa: E402

NAME, ADDRESS = "kadm", "10.99.0.1"
COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")
# kubeadm names flags of the etcd that it brings along: another one may not know them. Debian's wants a libc.
ETCD = """#!/bin/sh
for word; do
    shift
    case $word in --feature-gates=* | --watch-progress-notify-interval=*) ;; *) set -- "$@" "$word" ;; esac
done
[ "$1" = etcd ] && shift
exec /usr/local/lib/etcd --unsafe-no-fsync "$@"
"""


class Master(Node):
    def __init__(self, binaries: Path, rctr, work: Path, registry: str, gates: list):
        self.binaries, self.registry = binaries, registry
        own_places(work)
        super().__init__(str(binaries / "kubelet"), rctr, str(binaries / "crictl"), work, registry, gates)
        self.env |= {"PATH": f"{binaries}:{self.env['PATH']}", "KUBECONFIG": "/etc/kubernetes/admin.conf", "HOME": str(work)}
        with open(work / "config.toml", "a") as config:
            config.write(f'[registry."registry.k8s.io"]\nmirrors = ["{registry}"]\n')
        self.version = peers.call([self.kubelet_binary, "--version"]).split()[-1]
        (work / "kubeadm.yaml").write_text("---\n".join(json.dumps(part) + "\n" for part in self.parts(gates)))

    def parts(self, gates):
        api = "kubeadm.k8s.io/v1beta4"
        yield {"apiVersion": api, "kind": "InitConfiguration", "localAPIEndpoint": {"advertiseAddress": ADDRESS, "bindPort": 6443},
               "nodeRegistration": {"criSocket": f"unix://{self.socket}", "name": NAME, "taints": []}}
        yield {"apiVersion": api, "kind": "ClusterConfiguration", "kubernetesVersion": self.version,
               "networking": {"podSubnet": "10.229.0.0/16"}}
        yield {"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", **self.cgroup_v1(), "failSwapOn": False,
               "podLogsDir": f"{self.work}/logs", "makeIPTablesUtilChains": False, "featureGates": {gate: True for gate in gates}}

    def start(self):
        self.push_images()
        self.start_rctr()

    def push_images(self):
        """The control plane's images, of the binaries, under the names that kubeadm wants."""
        registry = oci.Registry(self.registry)
        for image in peers.call([self.binaries / "kubeadm", "config", "images", "list", "--kubernetes-version", self.version]).split():
            name, tag = image.removeprefix("registry.k8s.io/").rsplit(":", 1)
            if name == "pause":
                registry.push(name, [tag], small.pause())
            elif name in COMPONENTS:
                program, layer, base = (self.binaries / name).read_bytes(), oci.Layer(level=1), small.base
                if name == "etcd":
                    base = debian.base
                    layer.file("usr/local/lib/etcd", program, 0o755).file("usr/local/bin/etcd", ETCD, 0o755)
                else:
                    layer.file(f"usr/local/bin/{name}", program, 0o755)
                registry.push(name, [tag], oci.image([base(), layer.finish()], Env=["PATH=/usr/local/bin:/bin"], Entrypoint=[name]))

    def start_kubelet(self):
        """As its unit would, with what kubeadm has written."""
        flags = Path("/var/lib/kubelet/kubeadm-flags.env").read_text().partition("=")[2]
        self.kubelet = self.spawn("kubelet", [
            self.kubelet_binary, "--config=/var/lib/kubelet/config.yaml", "--kubeconfig=/etc/kubernetes/kubelet.conf",
            "--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf", "--v=2", *shlex.split(shlex.split(flags)[0])])

    def kubectl(self, *args):
        return self.told([self.binaries / "kubectl", *args])

    def told(self, argv, timeout=120):
        done = subprocess.run(argv, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
        if done.returncode:
            raise RuntimeError(f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def pod_names(self):
        return self.crictl_run("pods", "-q").split()


def own_places(work: Path):
    """What kubeadm and a kubelet write to is this mount namespace's own, and so is a network with an address."""
    for place in (Path("/etc"), Path("/var/lib")):
        upper, other = work / f"{place.name}-upper", work / f"{place.name}-work"
        upper.mkdir()
        other.mkdir()
        peers.call(["mount", "-t", "overlay", "-o", f"lowerdir={place},upperdir={upper},workdir={other}", "overlay", place])
    peers.call(["ip", "link", "add", "kadm0", "type", "bridge"])
    peers.call(["ip", "link", "set", "kadm0", "up"])
    peers.call(["ip", "address", "add", f"{ADDRESS}/24", "dev", "kadm0"])
    peers.call(["ip", "route", "add", "default", "via", "10.99.0.254", "dev", "kadm0"])
    with open("/etc/hosts", "a") as hosts:
        hosts.write(f"{ADDRESS} {NAME}\n")


def init(node: Master):
    """`kubeadm init` makes etcd, API server, controllers and scheduler pods of rctr, and the node becomes Ready."""
    log = open(node.work / "kubeadm.log", "w")
    # The machine is none that its checks of kernel, cgroups and swap want; nothing here serves addons.
    argv = [node.binaries / "kubeadm", "init", "--config", f"{node.work}/kubeadm.yaml", "--ignore-preflight-errors=all", "--skip-phases=addon"]
    running = subprocess.Popen(argv, env=node.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    node.processes.append(running)
    written = [Path("/var/lib/kubelet/config.yaml"), Path("/var/lib/kubelet/kubeadm-flags.env"), Path("/etc/kubernetes/kubelet.conf")]
    node.until("kubeadm has configured the kubelet", lambda: all(path.exists() and path.stat().st_size for path in written), 120)
    node.start_kubelet()
    assert running.wait(300) == 0, (node.work / "kubeadm.log").read_text()[-2000:]
    node.kubectl("wait", "--for=condition=Ready", f"node/{NAME}", "--timeout=60s")
    assert "rctr://" in node.kubectl("get", "node", NAME, "-o", "jsonpath={.status.nodeInfo.containerRuntimeVersion}")
    mirrors = [f"pod/{component}-{NAME}" for component in COMPONENTS]
    # The kubelet tells the API server of its static pods a little later.
    node.until("the control plane is ready", lambda: node.kubectl("wait", "-n", "kube-system", "--for=condition=Ready", *mirrors, "--timeout=5s"), 90)
    listed = peers.call([node.rctr, "ps", "--pods", "--format", "{{.Names}}"], node.env)
    assert all(component in listed for component in COMPONENTS), listed


def workload(node: Master):
    """A pod is scheduled and runs; exec and logs reach it, and it has its account."""
    node.until("pods may be made", lambda: node.kubectl("get", "serviceaccount", "default", "-o", "name"), 60)
    node.kubectl("run", "hello", "--image=busybox", "--image-pull-policy=IfNotPresent", "--", "sh", "-c", "echo begun; sleep 1000")
    node.kubectl("wait", "--for=condition=Ready", "pod/hello", "--timeout=60s")
    assert node.kubectl("exec", "hello", "--", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/namespace") == "default"
    assert node.kubectl("logs", "hello") == "begun\n"


def restart(node: Master):
    """`rctr cri` is killed and started again: the control plane answers all the while, no container is made anew."""
    before = node.crictl_run("ps", "-q").split()
    node.cri.kill()
    node.cri.wait()
    assert node.kubectl("get", "--raw", "/readyz") == "ok"
    node.socket.unlink()
    node.start_rctr()
    node.until("the kubelet goes on", lambda: node.kubectl("exec", "hello", "--", "echo", "there") == "there\n", 60)
    assert sorted(node.crictl_run("ps", "-q").split()) == sorted(before)


def reset(node: Master):
    """`kubeadm reset` removes every pod through the socket."""
    node.kubelet.terminate()
    node.kubelet.wait(30)
    assert node.pod_names()
    node.told([node.binaries / "kubeadm", "reset", "-f", "--cri-socket", f"unix://{node.socket}"])
    assert not node.pod_names()
    assert not os.path.exists("/etc/kubernetes/admin.conf")


if __name__ == "__main__":
    args = options(__doc__, "binaries")
    show(args, lambda work, registry: Master(Path(args.binaries).resolve(), str(Path(args.rctr).resolve()), work, registry, args.gate),
         [init, workload, restart, reset])
