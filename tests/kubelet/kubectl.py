"""A cluster of one node on `rctr cri`, used by kubectl. Prints a line for each promise.

BINARIES is a directory with etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubelet and kubectl.
"""

import fcntl
import hashlib
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import threading
import time
import urllib.request
from pathlib import Path

sys.dont_write_bytecode = True
from node import Node, free_port, options, peers, pod, show  # noqa: E402

# The node's name is its address, so that the API server reaches its kubelet without a resolver.
NODE = "127.0.0.1"
TRANSPORTS = ("websocket", "spdy")


class Cluster(Node):
    def __init__(self, binaries: Path, rctr, work: Path, registry: str, gates: list):
        self.binaries = binaries
        super().__init__(str(binaries / "kubelet"), rctr, os.environ.get("CRICTL"), work, registry, gates)
        settings = work / "kubelet.yaml"
        settings.write_text(json.dumps(json.loads(settings.read_text()) | {"podLogsDir": f"{work}/logs"}))
        self.etcd_port, self.api_port = free_port(), free_port()
        self.config = work / "kubeconfig"
        self.config.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": f"https://127.0.0.1:{self.api_port}", "insecure-skip-tls-verify": True}}],
            "users": [{"name": "admin", "user": {"token": "admin"}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}]}))
        (work / "tokens").write_text("admin,admin,admin,system:masters\n")
        peers.call(["openssl", "genrsa", "-out", work / "accounts.key", "2048"])

    def kubelet_flags(self):
        return ["--hostname-override", NODE, "--kubeconfig", str(self.config)]

    def start(self):
        work, key = self.work, f"{self.work}/accounts.key"
        etcd, peer = (f"http://127.0.0.1:{port}" for port in (self.etcd_port, free_port()))
        self.spawn("etcd", [self.binaries / "etcd", "--data-dir", f"{work}/etcd", "--listen-client-urls", etcd, "--advertise-client-urls", etcd,
                            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
                            "--unsafe-no-fsync"])
        self.spawn("apiserver", [
            self.binaries / "kube-apiserver", f"--etcd-servers={etcd}", f"--secure-port={self.api_port}", "--bind-address=127.0.0.1",
            "--advertise-address=192.0.2.1", "--endpoint-reconciler-type=none", f"--cert-dir={work}/api", "--service-cluster-ip-range=10.231.0.0/24",
            "--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}", f"--token-auth-file={work}/tokens", "--authorization-mode=AlwaysAllow",
            "--allow-privileged"])
        self.until("the API server is ready", lambda: self.kubectl("get", "--raw", "/readyz").stdout == "ok", 120)
        self.spawn("controllers", [
            self.binaries / "kube-controller-manager", f"--kubeconfig={self.config}", f"--service-account-private-key-file={key}",
            f"--root-ca-file={work}/api/apiserver.crt", "--leader-elect=false", "--secure-port=0"])
        self.spawn("scheduler", [self.binaries / "kube-scheduler", f"--kubeconfig={self.config}", "--leader-elect=false", "--secure-port=0"])
        super().start()
        self.until("the node is ready", lambda: self.kubectl("wait", "--for=condition=Ready", f"node/{NODE}", "--timeout=5s"), 60)
        self.until("pods may be made", lambda: self.kubectl("get", "serviceaccount", "default", "-o", "name").stdout, 60)
        self.until("and have their certificate", lambda: self.kubectl("get", "configmap", "kube-root-ca.crt", "-o", "name").stdout, 60)

    # -- kubectl --------------------------------------------------------------------------------------------------

    def kubectl_command(self, transport, *args):
        newer = "true" if transport == "websocket" else "false"
        env = self.env | {"KUBECONFIG": str(self.config), "HOME": str(self.work), "KUBECTL_REMOTE_COMMAND_WEBSOCKETS": newer,
                          "KUBECTL_PORT_FORWARD_WEBSOCKETS": newer}
        return [self.binaries / "kubectl", *args], env

    def kubectl(self, *args, stdin=None, status=0, transport="websocket", timeout=90, text=True):
        argv, env = self.kubectl_command(transport, *args)
        # Without input of its own it has none: `kubectl exec` without -i reads nothing either way.
        source = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        done = subprocess.run(argv, env=env, capture_output=True, text=text, timeout=timeout, **source)
        if done.returncode != status:
            raise RuntimeError(f"kubectl {args}: {done.returncode}, not {status}\n{done.stdout}\n{done.stderr}")
        return done

    def apply(self, *pods):
        self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(pods)}))

    def running(self, *names):
        self.kubectl("wait", "--for=condition=Ready", *(f"pod/{name}" for name in names), "--timeout=80s")

    def delete(self, *names):
        self.kubectl("delete", "pod", *names, "--timeout=60s")

    def told(self, name):
        return json.loads(self.kubectl("get", "pod", name, "-o", "json").stdout)

    def typed(self, transport, argv, keys, rows=41, columns=97):
        """kubectl on a terminal: what is typed once it shows what is waited for, None to leave. Its screen and its status."""
        argv, env = self.kubectl_command(transport, *argv)
        own, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        process = subprocess.Popen(argv, env=env | {"TERM": "xterm"}, stdin=its, stdout=its, stderr=its, start_new_session=True,
                                   preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(its)
        screen, keys, deadline = "", list(keys), time.monotonic() + 60
        try:
            while time.monotonic() < deadline:
                if keys and re.search(keys[0][0], screen):
                    if (key := keys.pop(0)[1]) is None:
                        return screen, None
                    os.write(own, key.encode())
                if select.select([own], [], [], 0.2)[0]:
                    try:
                        if not (part := os.read(own, 65536)):
                            break
                    except OSError:  # nobody has the other end any more
                        break
                    screen += part.decode(errors="replace")
            assert not keys, (keys, screen)
            return screen, process.wait(20)
        finally:
            process.kill()
            process.wait()
            os.close(own)


# -- what is shown --------------------------------------------------------------------------------------------------

def sleeper(name, **more):
    return pod(name, [{"name": "main", "command": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.2; done"]} | more])


def run_wait_and_delete(cluster: Cluster):
    """`kubectl run`, wait, get, describe and delete: the pod has an address and its events, and nothing stays."""
    cluster.kubectl("run", "first", "--image=busybox", "--image-pull-policy=IfNotPresent", "--", "sleep", "1000")
    cluster.running("first")
    assert re.search(r"first +1/1 +Running +0 .* 10\.22\d\.", cluster.kubectl("get", "pods", "-o", "wide").stdout)
    assert cluster.told("first")["status"]["containerStatuses"][0]["containerID"].startswith("rctr://")
    described = cluster.kubectl("describe", "pod", "first").stdout
    assert all(word in described for word in ("Scheduled", "Created", "Started")), described
    node = json.loads(cluster.kubectl("get", "node", NODE, "-o", "json").stdout)["status"]
    assert node["nodeInfo"]["containerRuntimeVersion"].startswith("rctr://"), node["nodeInfo"]
    cluster.kubectl("delete", "pod", "first", "--grace-period=1")
    assert "not found" in cluster.kubectl("get", "pod", "first", status=1).stderr
    cluster.until("rctr has nothing of it", lambda: not peers.call([cluster.rctr, "ps", "-aq", "--pods"], cluster.env), 30)


def commands(cluster: Cluster):
    """`kubectl exec`: both outputs apart, input to its end, the exit code; over WebSocket and SPDY."""
    cluster.apply(sleeper("box"))
    cluster.running("box")
    data = os.urandom(3 << 20)
    for transport in TRANSPORTS:
        done = cluster.kubectl("exec", "box", "--", "sh", "-c", "echo out; echo err >&2; exit 7", status=7, transport=transport)
        assert done.stdout == "out\n" and done.stderr.startswith("err\n"), done
        done = cluster.kubectl("exec", "-i", "box", "--", "sha256sum", stdin=data, transport=transport, text=False)
        assert done.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest(), transport
        done = cluster.kubectl("exec", "box", "--", "head", "-c", "9000000", "/dev/zero", transport=transport, text=False)
        assert len(done.stdout) == 9_000_000, (transport, len(done.stdout))
        done = cluster.kubectl("exec", "box", "--", "no-such-command", status=1, transport=transport)
        assert "no-such-command" in done.stderr, done
    cluster.delete("box")


def terminals(cluster: Cluster):
    """`kubectl exec -it` has a terminal of the client's size and tells the exit code; `kubectl attach -it` meets the main process again and again."""
    cluster.apply(pod("shell", [{"name": "main", "command": ["sh", "-c", 'while read l; do echo "<$l>"; done'], "stdin": True, "tty": True}]))
    cluster.running("shell")
    for transport in TRANSPORTS:
        screen, code = cluster.typed(transport, ["exec", "-it", "shell", "--", "sh"], [(r"# \S*$", "until stty size | grep '41 97'; do :; done\n"),
                                                                                       (r"\n41 97\r\n(.*\n)*.*# \S*$", "exit 3\n")])
        assert code == 3, (transport, code, screen)
        for word in ("one", "two"):
            cluster.typed(transport, ["attach", "-it", "shell"], [("If you don't see", f"{word}\n"), (f"<{word}>", None)])
    assert cluster.told("shell")["status"]["containerStatuses"][0]["restartCount"] == 0
    cluster.delete("shell")


def runs_that_are_waited_for(cluster: Cluster):
    """`kubectl run -i --rm`: what is piped in is read, what is written comes back, and the exit code is the container's."""
    for transport in TRANSPORTS:
        done = cluster.kubectl("run", "piped", "-i", "--rm", "--restart=Never", "--image=busybox", "--image-pull-policy=IfNotPresent", "-q", "--",
                               "sh", "-c", "read x; echo got $x; sleep 1; exit 5", stdin="hi\n", status=5, transport=transport)
        assert "got hi\n" in done.stdout, done


def ports(cluster: Cluster):
    """`kubectl port-forward`: many connections, one after the other and at once, whole; over WebSocket and SPDY."""
    script = "mkdir /www; head -c 5000000 /dev/urandom > /www/big; sha256sum < /www/big | cut -d' ' -f1 > /www/sum; exec httpd -f -p 8080 -h /www"
    cluster.apply(pod("web", [{"name": "main", "command": ["sh", "-c", script], "readinessProbe": {"httpGet": {"port": 8080, "path": "/sum"}}}]))
    cluster.running("web")
    for transport in TRANSPORTS:
        argv, env = cluster.kubectl_command(transport, "port-forward", "pod/web", ":8080")
        forward = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            port = re.search(r"127\.0\.0\.1:(\d+) ->", forward.stdout.readline())[1]
            url = f"http://127.0.0.1:{port}/"
            wanted = urllib.request.urlopen(url + "sum", timeout=10).read().decode().strip()
            sums = []

            def fetch():
                sums.append(hashlib.sha256(urllib.request.urlopen(url + "big", timeout=60).read()).hexdigest())

            threads = [threading.Thread(target=fetch) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert sums == [wanted] * 4, (transport, wanted, sums)
        finally:
            forward.kill()
            forward.wait()
    cluster.delete("web")


def copies(cluster: Cluster):
    """`kubectl cp`: a directory both ways, byte for byte, with what can be executed in it."""
    cluster.apply(sleeper("copied"))
    cluster.running("copied")
    source = cluster.work / "tree"
    (source / "below").mkdir(parents=True)
    (source / "big").write_bytes(os.urandom(4 << 20))
    (source / "below/empty").write_bytes(b"")
    (source / "below/script").write_text("#!/bin/sh\necho ran\n")
    (source / "below/script").chmod(0o755)
    for transport in TRANSPORTS:
        back = cluster.work / f"back-{transport}"
        cluster.kubectl("cp", str(source), f"copied:/tmp/{transport}", transport=transport)
        assert cluster.kubectl("exec", "copied", "--", f"/tmp/{transport}/below/script").stdout == "ran\n"
        cluster.kubectl("cp", f"copied:/tmp/{transport}", str(back), transport=transport)
        peers.call(["diff", "-r", source, back])
    cluster.delete("copied")


def logs(cluster: Cluster):
    """`kubectl logs`: followed to the end, a container's own, the last lines, and those of the run before."""
    count = "for n in $(seq 60); do echo line $n; sleep 0.05; done"
    cluster.apply(pod("counts", [{"name": "main", "command": ["sh", "-c", count]}, {"name": "other", "command": ["sh", "-c", "echo another"]}],
                      restartPolicy="Never"),
                  pod("crashes", [{"name": "main", "command": ["sh", "-c", "[ -e /v/once ] && exec sleep 1000; touch /v/once; echo the first; exit 2"],
                                   "volumeMounts": [{"name": "v", "mountPath": "/v"}]}], volumes=[{"name": "v", "emptyDir": {}}]))
    cluster.until("it writes", lambda: "line 2\n" in cluster.kubectl("logs", "counts", "-c", "main").stdout, 60)
    followed = cluster.kubectl("logs", "-f", "counts", "-c", "main").stdout
    assert followed == "".join(f"line {n}\n" for n in range(1, 61)), followed
    assert cluster.kubectl("logs", "counts", "-c", "other").stdout == "another\n"
    assert cluster.kubectl("logs", "--tail=2", "counts", "-c", "main").stdout == "line 59\nline 60\n"
    assert re.match(r"20\d\d-\S+ line 60\n$", cluster.kubectl("logs", "--tail=1", "--timestamps", "counts", "-c", "main").stdout)
    cluster.until("it has been started again", lambda: "running" in cluster.told("crashes")["status"]["containerStatuses"][0]["state"], 60)
    cluster.until("the run before is told", lambda: cluster.kubectl("logs", "-p", "crashes").stdout == "the first\n", 30)
    last = cluster.told("crashes")["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"]) == (2, "Error"), last
    cluster.delete("counts", "crashes")


def replicas(cluster: Cluster):
    """A deployment of four: all run, each with its own address; a new version takes their place, and fewer are left."""
    cluster.kubectl("create", "deployment", "many", "--image=busybox", "--replicas=4", "--", "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.2; done")
    cluster.kubectl("patch", "deployment", "many", "-p", json.dumps({"spec": {"template": {"spec": {"containers": [
        {"name": "busybox", "imagePullPolicy": "IfNotPresent"}]}}}}))
    cluster.kubectl("rollout", "status", "deployment/many", "--timeout=80s")

    def there():
        listed = json.loads(cluster.kubectl("get", "pods", "-l", "app=many", "-o", "json").stdout)["items"]
        return {p["metadata"]["name"]: p["status"]["podIP"] for p in listed if "deletionTimestamp" not in p["metadata"]}

    before = there()
    assert len(before) == len(set(before.values())) == 4, before
    cluster.kubectl("rollout", "restart", "deployment/many")
    cluster.kubectl("rollout", "status", "deployment/many", "--timeout=80s")
    assert not set(before) & set(there())
    cluster.kubectl("scale", "deployment/many", "--replicas=1")
    cluster.until("one is left", lambda: len(there()) == 1, 30)
    cluster.kubectl("delete", "deployment", "many", "--cascade=foreground", "--timeout=60s")


def debugging(cluster: Cluster):
    """`kubectl debug --target`: another image's shell beside a running container, with its processes in sight."""
    cluster.apply(pod("ailing", [{"name": "main", "command": ["sleep", "4711"]}]))
    cluster.running("ailing")
    cluster.kubectl("debug", "ailing", "--image=busybox", "--image-pull-policy=IfNotPresent", "--target=main", "-c", "look", "--", "sh", "-c", "ps; sleep 100")
    cluster.until("it sees the other", lambda: "sleep 4711" in cluster.kubectl("logs", "ailing", "-c", "look").stdout, 60)
    assert cluster.told("ailing")["status"]["containerStatuses"][0]["restartCount"] == 0
    cluster.delete("ailing")


def configuration(cluster: Cluster):
    """Config maps, secrets and the account's token are files and variables; a changed map is seen through its links."""
    cluster.kubectl("create", "configmap", "settings", "--from-literal=colour=red")
    cluster.kubectl("create", "secret", "generic", "hidden", "--from-literal=password=p4ss")
    main = {"env": [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "hidden", "key": "password"}}}],
            "envFrom": [{"configMapRef": {"name": "settings"}}], "volumeMounts": [{"name": "c", "mountPath": "/c"}, {"name": "s", "mountPath": "/s"}]}
    one = sleeper("configured", **main)
    one["spec"]["volumes"] = [{"name": "c", "configMap": {"name": "settings"}}, {"name": "s", "secret": {"secretName": "hidden", "defaultMode": 0o400}}]
    cluster.apply(one)
    cluster.running("configured")
    script = "echo $PASSWORD $colour; cat /c/colour; echo; cat /s/password; echo; stat -Lc %a /s/password; cut -c1-2 /var/run/secrets/kubernetes.io/serviceaccount/token"
    told = cluster.kubectl("exec", "configured", "--", "sh", "-c", script).stdout
    assert told == "p4ss red\nred\np4ss\n400\ney\n", told
    cluster.kubectl("patch", "configmap", "settings", "-p", '{"data": {"colour": "blue"}}')
    cluster.kubectl("annotate", "pod", "configured", "look=again")
    cluster.until("the change is seen", lambda: cluster.kubectl("exec", "configured", "--", "cat", "/c/colour").stdout == "blue", 120)
    cluster.delete("configured")


def newer_fields(cluster: Cluster):
    """User namespaces, images as volumes, strict groups and recursive read-only mounts reach the container."""
    main = {"volumeMounts": [{"name": "image", "mountPath": "/image", "readOnly": True}, {"name": "host", "mountPath": "/host", "readOnly": True,
                                                                                           "recursiveReadOnly": "Enabled"}]}
    host = cluster.work / "shown"
    host.mkdir()
    one = sleeper("newer", **main)
    one["spec"] |= {"hostUsers": False, "securityContext": {"supplementalGroups": [4000], "supplementalGroupsPolicy": "Strict"},
                    "volumes": [{"name": "image", "image": {"reference": "busybox", "pullPolicy": "IfNotPresent"}},
                                {"name": "host", "hostPath": {"path": str(host)}}]}
    cluster.apply(one)
    cluster.running("newer")
    script = "id -u; id -G; tr -s ' ' < /proc/self/uid_map; cmp /image/bin/busybox /bin/busybox && echo same; touch /host/x 2>/dev/null || echo refused"
    told = cluster.kubectl("exec", "newer", "--", "sh", "-c", script).stdout.splitlines()
    assert told[0] == "0" and told[1] == "0 4000", told
    assert int(told[2].split()[1]) >= 65536 and told[3:] == ["same", "refused"], told
    cluster.delete("newer")


def resizing(cluster: Cluster):
    """`kubectl patch --subresource resize`: limits are changed in place, in the kernel's files and in what is told."""
    def limits(cpu, memory):
        return {"requests": {"cpu": "100m", "memory": "32Mi"}, "limits": {"cpu": cpu, "memory": memory}}

    cluster.apply(sleeper("resized", resources=limits("500m", "64Mi")))
    cluster.running("resized")
    container = cluster.told("resized")["status"]["containerStatuses"][0]["containerID"].removeprefix("rctr://")
    pid = peers.call([cluster.rctr, "inspect", "--format", "{{.State.Pid}}", container], cluster.env)
    assert cluster.cgroup_file(pid, "cpu/cpu.cfs_quota_us", "cpu.max").split()[0] == "50000"
    change = {"spec": {"containers": [{"name": "main", "resources": limits("700m", "96Mi")}]}}
    cluster.kubectl("patch", "pod", "resized", "--subresource", "resize", "-p", json.dumps(change))
    cluster.until("it is told", lambda: cluster.told("resized")["status"]["containerStatuses"][0]["resources"] == limits("700m", "96Mi"), 60)
    assert cluster.cgroup_file(pid, "cpu/cpu.cfs_quota_us", "cpu.max").split()[0] == "70000"
    assert cluster.cgroup_file(pid, "memory/memory.limit_in_bytes", "memory.max") == str(96 << 20)
    assert cluster.told("resized")["status"]["containerStatuses"][0]["restartCount"] == 0
    cluster.delete("resized")


def hooks_and_grace(cluster: Cluster):
    """postStart and preStop commands run where they must; a deletion gives the time it promises."""
    place = cluster.work / "hooks"
    place.mkdir()
    one = sleeper("hooked", volumeMounts=[{"name": "place", "mountPath": "/place"}], lifecycle={
        "postStart": {"exec": {"command": ["sh", "-c", "echo $PPID > /place/begun"]}},
        "preStop": {"exec": {"command": ["sh", "-c", "sleep 1; echo over > /place/ended"]}}})
    one["spec"] |= {"volumes": [{"name": "place", "hostPath": {"path": str(place)}}], "terminationGracePeriodSeconds": 10}
    cluster.apply(one)
    cluster.running("hooked")
    assert (place / "begun").exists()
    cluster.delete("hooked")
    assert (place / "ended").read_text() == "over\n"


def jobs(cluster: Cluster):
    """A job whose pod fails is tried again until it is done; init containers come first."""
    place = cluster.work / "jobs"
    place.mkdir()
    volume = {"volumeMounts": [{"name": "place", "mountPath": "/place"}], "image": "busybox", "imagePullPolicy": "IfNotPresent"}
    template = {"restartPolicy": "OnFailure", "volumes": [{"name": "place", "hostPath": {"path": str(place)}}],
                "initContainers": [{"name": "before", "command": ["sh", "-c", "echo before >> /place/log"]} | volume],
                "containers": [{"name": "main", "command": ["sh", "-c", "echo main >> /place/log; [ $(grep -c main /place/log) -ge 2 ]"]} | volume]}
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "tries"},
                                                          "spec": {"template": {"spec": template}}}))
    cluster.kubectl("wait", "--for=condition=Complete", "job/tries", "--timeout=80s")
    assert (place / "log").read_text() == "before\nmain\nmain\n"
    cluster.kubectl("delete", "job", "tries")


SHOWN = [run_wait_and_delete, commands, terminals, runs_that_are_waited_for, ports, copies, logs, replicas, debugging, configuration, newer_fields, resizing,
         hooks_and_grace, jobs]


if __name__ == "__main__":
    args = options(__doc__, "binaries")
    show(args, lambda work, registry: Cluster(Path(args.binaries).resolve(), str(Path(args.rctr).resolve()), work, registry, args.gate), SHOWN)
