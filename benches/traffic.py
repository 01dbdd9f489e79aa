"""What goes through the network of containers: published ports, streams, names."""

import json
import socket
import statistics
import struct
import time

import peers

IPERF = "bench-iperf3"


class Traffic:
    """Rows `ports`, `streams` and `names` of the bench."""

    def __init__(self, bench):
        self.bench = bench

    def ports(self, count=1000, first=21000):
        """One container that publishes so many ports, rctr beside docker."""
        setup, memory, p99 = {}, {}, {}
        for peer in (self.bench.rctr, self.bench.docker):
            before = set(peers.pids_of(*peer.helpers, "docker-proxy"))
            plain = self._timed(peer, [])
            many = self._timed(peer, ["-p", f"127.0.0.1:{first}-{first + count - 1}:{first}-{first + count - 1}"])
            helpers = set(peers.pids_of(*peer.helpers, "docker-proxy")) - before
            setup[peer.name] = many - plain
            idle = statistics.mean(map(peers.pss_kib, peers.pids_of(*peer.helpers))) / 1024
            memory[peer.name] = sum(map(peers.pss_kib, helpers)) / 1024 - 2 * idle
            peer.run("exec", "-d", "ports", "nc", "-ll", "-p", str(first + count // 2), "-e", "cat")
            p99[peer.name] = self._round_trips(first + count // 2)
            peer.remove_all()
        self.bench.row(f"{count} published ports: set-up", setup, "docker", 1)
        self.bench.row(f"{count} published ports: memory", memory, None, None, "MB", limit=1)
        self.bench.row("connection through one of them, p99", p99, "docker", 1)

    @staticmethod
    def _timed(peer, flags) -> float:
        begun = time.perf_counter()
        peer.run("run", "-d", *(["--name", "ports"] if flags else []), *flags, peer.image("busybox"), "sleep", "100000")
        return (time.perf_counter() - begun) * 1000

    @staticmethod
    def _round_trips(port, count=500) -> float:
        deadline, took = time.monotonic() + 10, []
        while len(took) < count:
            begun = time.perf_counter()
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                    connection.sendall(b"x")
                    answered = connection.recv(1) == b"x"
            except OSError:
                answered = False
            if answered:
                took.append((time.perf_counter() - begun) * 1000)
            elif time.monotonic() > deadline:
                raise RuntimeError(f"nobody answers on port {port}")
        return sorted(took)[int(count * 0.99)]

    def streams(self, seconds=5):
        """iperf3 from container to container, and from the host through a published port."""
        self._image()
        between, through = {}, {}
        for peer in (self.bench.rctr, self.bench.docker):
            image = peer.image(IPERF)
            peer.run("run", "-d", "--name", "server", "-p", "127.0.0.1:25201:5201", image, "iperf3", "-s")
            peer.run("run", "-d", "--name", "client", image, "sleep", "100000")
            address = peer.run("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "server")
            between[peer.name] = self._gigabits(
                lambda: peer.run("exec", "client", "iperf3", "-J", "-t", str(seconds), "-c", address))
            through[peer.name] = self._gigabits(
                lambda: peers.call(["iperf3", "-J", "-t", str(seconds), "-c", "127.0.0.1", "-p", "25201"]))
            peer.remove_all()
        # Times, so that less is better, as in every row.
        self.bench.row("10 GB from container to container", {k: 80 / v for k, v in between.items()}, "docker", 1.05, "s")
        self.bench.row("10 GB through a published port", {k: 80 / v for k, v in through.items()}, "docker", 1.05, "s")

    @staticmethod
    def _gigabits(run) -> float:
        def once():
            return json.loads(run())["end"]["sum_received"]["bits_per_second"] / 1e9

        deadline = time.monotonic() + 10
        while True:
            try:
                once()  # warms up, once the server listens
                return statistics.median(once() for _ in range(3))
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise

    def _image(self):
        context = self.bench.work / "iperf3"
        context.mkdir()
        (context / "Dockerfile").write_text("FROM debian\nRUN apt-get update && apt-get install -y --no-install-recommends iperf3\n")
        rctr, host = self.bench.rctr, self.bench.registry.removeprefix("http://")
        rctr.run("build", "-q", "-t", f"{host}/library/{IPERF}", str(context))
        rctr.run("push", "-q", f"{host}/library/{IPERF}")
        for peer in (rctr, self.bench.docker):
            peer.run("pull", peer.image(IPERF))

    def names(self, count=2000):
        """A container's name, asked for by another one on the same network."""
        p99 = {}
        for peer in (self.bench.rctr, self.bench.docker):
            peer.run("network", "create", "bench-names")
            try:
                for name in ("asked", "asking"):
                    peer.run("run", "-d", "--name", name, "--network", "bench-names", peer.image("busybox"), "sleep", "100000")
                pid = peer.run("inspect", "-f", "{{.State.Pid}}", "asking")
                resolv = peer.run("exec", "asking", "cat", "/etc/resolv.conf")
                server = next(line.split()[1] for line in resolv.splitlines() if line.startswith("nameserver"))
                asked = peers.call(["nsenter", "-t", pid, "-n", "python3", __file__, server, "asked", str(count)])
                p99[peer.name] = float(asked)
            finally:
                peer.remove_all()
                peer.run("network", "rm", "bench-names", check=False)
        self.bench.row("a container's name resolved, p99", p99, None, None, limit=1)


def ask(server, name, count) -> float:
    """The 99th percentile of so many questions, in milliseconds."""
    took = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect((server, 53))
        for number in range(count + 100):
            question = bytes([len(name)]) + name.encode() + b"\0" + struct.pack(">HH", 1, 1)
            begun = time.perf_counter()
            client.send(struct.pack(">6H", number, 0x100, 1, 0, 0, 0) + question)
            answer = client.recv(512)
            took.append((time.perf_counter() - begun) * 1000)
            if struct.unpack(">HHHH", answer[:8])[0::3] != (number, 1):
                raise RuntimeError(f"{server} does not know {name}: {answer!r}")
    return sorted(took[100:])[int(count * 0.99)]


if __name__ == "__main__":
    import sys

    print(ask(sys.argv[1], sys.argv[2], int(sys.argv[3])))
