"""Static pods, as a course for beginners has them, under a real kubelet on `rctr cri`. Prints a line for each promise."""

import contextlib
import gzip
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import urllib.request
from pathlib import Path

sys.dont_write_bytecode = True
from node import Node, free_port, options, pod, show  # noqa: E402

WEB = "mkdir -p /www; echo {0} > /www/index.html; exec httpd -f -v -p {1} -h /www"


def two_servers_in_a_pod(node: Node):
    """The second of two servers on one port fails, is restarted and backs off; the first answers on."""
    node.apply(pod("twins", [{"name": "first", "command": ["sh", "-c", WEB.format("first", 80)]},
                             {"name": "second", "command": ["sh", "-c", "sleep 1; " + WEB.format("second", 80)]}]))
    node.until("the second was restarted", lambda: node.container("twins", "second").get("restartCount", 0) >= 1, 90)
    node.until("it says why", lambda: "Address already in use" in node.logs("twins", "second"), 30)
    address = node.status("twins")["podIP"]
    assert urllib.request.urlopen(f"http://{address}/", timeout=5).read() == b"first\n"
    assert node.container("twins", "first")["restartCount"] == 0
    node.delete("twins")


def volumes(node: Node):
    """An emptyDir is shared within a pod and not between pods; a hostPath shows the host; env reaches the process."""
    host = node.work / "host"
    host.mkdir()
    (host / "note").write_text("from the host\n")
    def one(name):
        return pod(name, [
            {"name": "writer", "command": ["sh", "-c", f"echo {name} > /data/who; exec sleep 1000"], "env": [{"name": "SECRET", "value": "s3"}],
             "volumeMounts": [{"name": "shared", "mountPath": "/data"}, {"name": "host", "mountPath": "/host", "readOnly": True}]},
            {"name": "reader", "command": ["sleep", "1000"], "volumeMounts": [{"name": "shared", "mountPath": "/seen"}]}],
            volumes=[{"name": "shared", "emptyDir": {}}, {"name": "host", "hostPath": {"path": str(host)}}])

    node.apply(one("vol1"), one("vol2"))
    node.running("vol1", "vol2")
    for name in ("vol1", "vol2"):
        node.until("the reader sees it", lambda name=name: node.run_in(name, "reader", "cat /seen/who") == f"{name}\n", 20)
    assert node.run_in("vol1", "writer", "cat /host/note") == "from the host\n"
    assert "SECRET=s3\n" in node.run_in("vol1", "writer", "env")
    with contextlib.suppress(OSError):  # the command fails, as it must
        node.run_in("vol1", "writer", "touch /host/x")
    assert not (host / "x").exists()
    node.delete("vol1", "vol2")


def limits(node: Node):
    """Requests and limits reach the cgroup; a container beyond its memory is OOMKilled with 137; QoS classes are told."""
    resources = {"requests": {"cpu": "100m", "memory": "4Mi"}, "limits": {"cpu": "800m", "memory": "20Mi"}}
    node.apply(pod("limited", [{"name": "main", "command": ["sleep", "1000"], "resources": resources}]),
               pod("greedy", [{"name": "main", "command": ["sh", "-c", "sleep 1; tail /dev/zero"], "resources": resources}], restartPolicy="Never"),
               pod("best", [{"name": "main", "command": ["sleep", "1000"]}]))
    node.running("limited", "best")
    assert node.status("limited")["qosClass"] == "Burstable" and node.status("best")["qosClass"] == "BestEffort"
    pid = json.loads(node.crictl_run("inspect", node.id_of("limited", "main")))["info"]["pid"] if node.crictl else None
    if pid:
        cpu = node.cgroup_file(pid, "cpu/cpu.cfs_quota_us", "cpu.max")
        assert cpu.split()[0] == "80000", cpu
        assert node.cgroup_file(pid, "memory/memory.limit_in_bytes", "memory.max") == "20971520"
        assert "burstable" in Path(f"/proc/{pid}/cgroup").read_text()
    node.until("it was killed", lambda: "terminated" in node.container("greedy", "main").get("state", {}), 60)
    ended = node.container("greedy", "main")["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (137, "OOMKilled"), ended
    node.delete("limited", "greedy", "best")


def probes(node: Node):
    """An exec liveness probe that starts to fail restarts the container; readiness decides Ready."""
    probe = {"exec": {"command": ["cat", "/tmp/healthy"]}, "periodSeconds": 1, "failureThreshold": 1, "initialDelaySeconds": 2}
    ready = {"exec": {"command": ["true"]}, "periodSeconds": 1}
    node.apply(pod("alive", [{"name": "main", "command": ["sh", "-c", "touch /tmp/healthy; sleep 6; rm /tmp/healthy; sleep 1000"],
                              "livenessProbe": probe, "readinessProbe": ready}]))
    node.until("ready", lambda: node.container("alive", "main")["ready"], 60)
    node.until("restarted by the probe", lambda: node.container("alive", "main")["restartCount"] >= 1, 60)
    node.delete("alive")


def deaf_to_sigterm(node: Node):
    """A first process that ignores SIGTERM is killed after its grace period."""
    node.apply(pod("deaf", [{"name": "main", "command": ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]}],
                   terminationGracePeriodSeconds=3))
    node.running("deaf")
    pid = json.loads(node.crictl_run("inspect", node.id_of("deaf", "main")))["info"]["pid"] if node.crictl else 0
    begun = time.monotonic()
    (node.manifests / "deaf.json").unlink()
    if pid:
        node.until("it is killed", lambda: not Path(f"/proc/{pid}").exists(), 30)
        assert 2.5 < time.monotonic() - begun < 10, time.monotonic() - begun
    node.delete("deaf")


def four_at_once(node: Node):
    """Four replicas started at once all run, each with an address of its own."""
    names = [f"replica{n}" for n in range(4)]
    node.apply(*(pod(name, [{"name": "main", "command": ["sh", "-c", WEB.format(name, 80)]}]) for name in names))
    node.running(*names)
    addresses = {node.status(name)["podIP"] for name in names}
    assert len(addresses) == 4, addresses
    for name in names:
        address = node.status(name)["podIP"]
        node.until(f"{name} answers", lambda a=address, n=name: urllib.request.urlopen(f"http://{a}/", timeout=5).read().decode() == f"{n}\n", 20)
    node.delete(*names)


def host_port(node: Node):
    """A hostPort leads to the pod."""
    port = free_port()
    node.apply(pod("ported", [{"name": "main", "command": ["sh", "-c", WEB.format("ported", 8080)],
                               "ports": [{"containerPort": 8080, "hostPort": port}]}]))
    node.running("ported")
    node.until("the port answers", lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).read() == b"ported\n", 20)
    node.delete("ported")


def shared_processes(node: Node):
    """With shareProcessNamespace a container sees the other's processes; hostNetwork has the node's address."""
    node.apply(pod("family", [{"name": "one", "command": ["sleep", "4711"]}, {"name": "two", "command": ["sleep", "1000"]}],
                   shareProcessNamespace=True),
               pod("hostly", [{"name": "main", "command": ["sleep", "1000"]}], hostNetwork=True))
    node.running("family", "hostly")
    assert "sleep 4711" in node.run_in("family", "two", "ps")
    assert node.run_in("hostly", "main", "readlink /proc/self/ns/net").strip() == os.readlink("/proc/self/ns/net")
    # Figures of a pod without a network of its own do not bring the kubelet down.
    node.until("figures", lambda: "hostly" in node.get("/stats/summary"), 30)
    node.delete("family", "hostly")


def init_containers(node: Node):
    """Init containers run to their end, one after the other, before the others start."""
    mount = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    steps = [{"name": f"init{n}", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", f"echo {n} >> /v/log"]} | mount for n in (1, 2)]
    node.apply(pod("staged", [{"name": "main", "command": ["sh", "-c", "cat /v/log; sleep 1000"]} | mount],
                   initContainers=steps, volumes=[{"name": "v", "emptyDir": {}}]))
    node.running("staged")
    node.until("the log is there", lambda: node.logs("staged", "main") == "1\n2\n", 20)
    node.delete("staged")


def security(node: Node):
    """User, groups, capabilities, read-only root and no new privileges are as the pod says."""
    context = {"runAsUser": 1000, "runAsGroup": 3000, "readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False,
               "capabilities": {"drop": ["ALL"]}}
    node.apply(pod("strict", [{"name": "main", "command": ["sleep", "1000"], "securityContext": context}],
                   securityContext={"fsGroup": 2000, "supplementalGroups": [4000]}))
    node.running("strict")
    who = node.run_in("strict", "main", "id")
    assert "uid=1000" in who and "gid=3000" in who and "2000" in who and "4000" in who, who
    status = node.run_in("strict", "main", "cat /proc/self/status")
    assert "NoNewPrivs:\t1" in status and "CapBnd:\t0000000000000000" in status and "Seccomp:\t" in status, status
    node.delete("strict")


def streams(node: Node):
    """crictl's exec, attach and port-forward, over SPDY and WebSocket."""
    if not node.crictl:
        return "no CRICTL"
    node.apply(pod("talk", [{"name": "main", "command": ["sh"], "stdin": True, "tty": True},
                            {"name": "web", "command": ["sh", "-c", WEB.format("web", 8080)]}]))
    node.running("talk")
    web = node.id_of("talk", "web")
    for transport in ("spdy", "websocket"):
        assert node.crictl_run("exec", "--transport", transport, "-i", web, "cat", stdin="through\n") == "through\n", transport
        failed = subprocess.run([node.crictl, "--runtime-endpoint", f"unix://{node.socket}", "exec", "--transport", transport, web,
                                 "sh", "-c", "exit 7"], capture_output=True, text=True, timeout=60)
        assert "7" in failed.stderr and failed.returncode, failed
    sandbox = json.loads(node.crictl_run("pods", "--name", "talk-node", "-o", "json"))["items"][0]["id"]
    for transport in ("spdy", "websocket"):
        port = free_port()
        forward = subprocess.Popen([node.crictl, "--runtime-endpoint", f"unix://{node.socket}", "port-forward", "--transport", transport,
                                    sandbox, f"{port}:8080"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            node.until("the forwarded port answers", lambda p=port: urllib.request.urlopen(f"http://127.0.0.1:{p}/", timeout=5).read() == b"web\n", 20)
        finally:
            forward.kill()
            forward.wait()
    node.delete("talk")


def statistics(node: Node):
    """The kubelet's summary has memory, CPU, network and file system figures of a pod."""
    node.apply(pod("counted", [{"name": "main", "command": ["sh", "-c", "dd if=/dev/zero of=/f bs=1M count=3; while :; do :; done"]}]))
    node.running("counted")

    def told():
        pods = json.loads(node.get("/stats/summary"))["pods"]
        one = next(p for p in pods if p["podRef"]["name"] == "counted-node")
        main = one["containers"][0]
        return (main["cpu"]["usageNanoCores"] > 1e7 and main["memory"]["workingSetBytes"] > 1e5 and main["rootfs"]["usedBytes"] >= 3 << 20
                and one["network"]["rxBytes"] >= 0 and one["process_stats"]["process_count"] >= 1)

    node.until("the summary is complete", told, 60)
    node.delete("counted")


def rotated_logs(node: Node):
    """The kubelet rotates a log that has reached its size: old files stay beside the new one, and no line is lost."""
    node.apply(pod("noisy", [{"name": "main", "command": ["sh", "-c", "n=0; while :; do n=$((n+1)); echo line $n; sleep 0.001; done"]}]))
    node.running("noisy")

    def files():
        return sorted(Path("/var/log/pods").glob("default_noisy-node_*/main/*.log*"), key=lambda path: (path.name == "0.log", path.name))

    node.until("the log was rotated", lambda: len(files()) >= 2, 90)
    node.until("the new one is written", lambda: files()[-1].stat().st_size > 0, 30)
    numbers = []
    for path in files():
        data = path.read_bytes()
        text = gzip.decompress(data) if path.suffix == ".gz" else data
        # The last line may be half written yet.
        numbers += [int(line.rsplit(b" ", 1)[1]) for line in text.split(b"\n")[:-1]]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), [a for a, b in zip(numbers, numbers[1:]) if b != a + 1]
    assert "line" in node.logs("noisy", "main")
    node.delete("noisy")


def checkpoint(node: Node):
    """The kubelet's checkpoint of a running container is an archive, and the container goes on."""
    if not shutil.which("criu") or subprocess.run(["criu", "check"], capture_output=True).returncode:
        return "no CRIU that works here"
    node.apply(pod("counts", [{"name": "main", "command": ["sh", "-c", "n=0; while :; do n=$((n+1)); echo $n > /n; sleep 0.1; done"]}]))
    node.running("counts")
    node.until("it counts", lambda: int(node.run_in("counts", "main", "cat /n")) > 2, 20)
    archive = Path(json.loads(node.get("/checkpoint/default/counts-node/main", data=b""))["items"][0])
    with tarfile.open(archive) as members:
        assert {"checkpoint/pstree.img", "config.dump", "spec.dump", "rootfs-diff.tar"} <= set(members.getnames()), members.getnames()
    before = int(node.run_in("counts", "main", "cat /n"))
    node.until("it goes on", lambda: int(node.run_in("counts", "main", "cat /n")) > before, 20)
    assert node.container("counts", "main")["restartCount"] == 0
    node.delete("counts")


def restart_of_the_runtime(node: Node):
    """`rctr cri` is killed and started again: pods go on, an exit meanwhile is told with its code, exec works."""
    place = node.work / "ending"
    place.mkdir()
    script = "while [ ! -e /place/end ]; do sleep 0.1; done; exec rm /place/end"
    node.apply(pod("steady", [{"name": "main", "command": ["sleep", "1000"]}]),
               pod("ending", [{"name": "main", "command": ["sh", "-c", script + " /none"],
                               "volumeMounts": [{"name": "place", "mountPath": "/place"}]}],
                   restartPolicy="Never", volumes=[{"name": "place", "hostPath": {"path": str(place)}}]))
    node.running("steady", "ending")
    before = node.id_of("steady", "main")
    node.cri.kill()
    node.cri.wait()
    (place / "end").touch()
    node.until("the other one has ended", lambda: not (place / "end").exists(), 20)
    node.start_rctr()
    node.until("the end is told", lambda: node.container("ending", "main")["state"]["terminated"]["exitCode"] == 1, 60)
    node.until("exec works", lambda: node.run_in("steady", "main", "echo still") == "still\n", 30)
    assert node.id_of("steady", "main") == before and node.container("steady", "main")["restartCount"] == 0
    node.delete("steady", "ending")


def restart_of_the_kubelet(node: Node):
    """A kubelet that is started again finds its pods as they are."""
    node.apply(pod("kept", [{"name": "main", "command": ["sleep", "1000"]}]))
    node.running("kept")
    before = node.id_of("kept", "main")
    node.kubelet.kill()
    node.kubelet.wait()
    node.start_kubelet()
    node.running("kept")
    assert node.id_of("kept", "main") == before
    node.delete("kept")


SHOWN = [two_servers_in_a_pod, volumes, limits, probes, deaf_to_sigterm, four_at_once, host_port, shared_processes, init_containers, security,
         streams, statistics, rotated_logs, checkpoint, restart_of_the_runtime, restart_of_the_kubelet]


if __name__ == "__main__":
    args = options(__doc__, "kubelet")
    show(args, lambda work, registry: Node(args.kubelet, str(Path(args.rctr).resolve()), os.environ.get("CRICTL"), work, registry, args.gate), SHOWN)
