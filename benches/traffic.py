"""What goes through the network of containers: published ports, streams, names."""

import json
import socket
import statistics
import struct
import subprocess
import sys
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
            time.sleep(3)  # what a start needs is given back once it is over
            helpers = set(peers.pids_of(*peer.helpers, "docker-proxy")) - before
            setup[peer.name] = many - plain
            idle = statistics.mean(map(peers.pss_kib, peers.pids_of(*peer.helpers))) / 1024
            memory[peer.name] = sum(map(peers.pss_kib, helpers)) / 1024 - 2 * idle
            p99[peer.name] = self._round_trips(peer.run("inspect", "-f", "{{.State.Pid}}", "ports"), first + count // 2)
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
    def _round_trips(pid, port, count=2000) -> float:
        """The 99th percentile of connect, one byte there and back, and close; in milliseconds."""
        server = subprocess.Popen(["nsenter", "-t", pid, "-n", "python3", __file__, "serve", str(port)],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        try:
            server.stdout.readline()  # it listens
            took = []
            for _ in range(count):
                begun = time.perf_counter()
                with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                    connection.sendall(b"x")
                    if connection.recv(1) != b"x":
                        raise RuntimeError(f"port {port} leads somewhere else")
                took.append((time.perf_counter() - begun) * 1000)
            return sorted(took)[int(count * 0.99)]
        finally:
            server.kill()
            server.wait()
            server.stdout.close()

    def streams(self, seconds=5):
        """iperf3 from container to container, and from the host through a published port."""
        self._image()
        two = (self.bench.rctr, self.bench.docker)
        clients = {}
        for port, peer in enumerate(two, 25201):
            image = peer.image(IPERF)
            peer.run("run", "-d", "--name", "server", "-p", f"127.0.0.1:{port}:5201", image, "iperf3", "-s")
            peer.run("run", "-d", "--name", "client", image, "sleep", "100000")
            address = peer.run("inspect", "-f", "{{.NetworkSettings.IPAddress}}", "server")
            clients[peer.name] = ((peer.argv("exec", "client", "iperf3", "-c", address), peer.env),
                                  (["iperf3", "-c", "127.0.0.1", "-p", str(port)], peer.env))
        for which, what in enumerate(("from container to container", "through a published port")):
            took = {name: [] for name in clients}
            for turn in range(4):
                for name, commands in clients.items():
                    argv, env = commands[which]
                    result = json.loads(peers.call([*argv, "-J", "-t", str(seconds)], env))
                    if turn:  # the first turn warms up
                        took[name].append(80e9 / result["end"]["sum_received"]["bits_per_second"])
            # Times, so that less is better, as in every row.
            values = {name: statistics.median(values) for name, values in took.items()}
            self.bench.row(f"10 GB {what}", values, "docker", 1.05, "s")
        for peer in two:
            peer.remove_all()

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
                time.sleep(2)  # what a start leaves to be done is not what is measured
                pid = peer.run("inspect", "-f", "{{.State.Pid}}", "asking")
                resolv = peer.run("exec", "asking", "cat", "/etc/resolv.conf")
                server = next(line.split()[1] for line in resolv.splitlines() if line.startswith("nameserver"))
                asked = peers.call(["nsenter", "-t", pid, "-n", "python3", __file__, "ask", server, "asked", str(count)])
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


def serve(port):
    """Sends back one byte on each connection."""
    with socket.create_server(("0.0.0.0", port)) as listener:
        print("listening", flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(connection.recv(1))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", port]:
            serve(int(port))
        case ["ask", server, name, count]:
            print(ask(server, name, int(count)))
