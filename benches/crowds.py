"""Many containers on one machine, and much output of one."""

import re
import statistics
import subprocess
import threading
import time

import peers


class Crowds:
    """Rows `starts`, `crowd` and `logs` of the bench."""

    def __init__(self, bench):
        self.bench = bench

    def starts(self, count=50):
        """So many `run -d` one after the other, and all at once; three rounds, runtimes in turn."""
        for what, together in ((f"{count} starts in a row", False), (f"{count} starts at once", True)):
            took = {peer.name: [] for peer in self.bench.all}
            for _ in range(3):
                for peer in self.bench.all:
                    took[peer.name].append(self._start(peer, count, together) / count)
                    peer.remove_all()
            values = {name: statistics.median(values) for name, values in took.items()}
            self.bench.row(f"{what}, each", values, "docker", 1)

    @staticmethod
    def _start(peer, count, together) -> float:
        """Milliseconds until all of them run."""
        argv = peer.argv("run", "-d", peer.image("busybox"), "sleep", "100000")
        begun = time.perf_counter()
        if together:
            running = [subprocess.Popen(argv, env=peer.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, text=True) for _ in range(count)]
            for process in running:
                _, text = process.communicate(timeout=600)
                if process.returncode:
                    raise RuntimeError(f"{peer.name}: {text}")
        else:
            for _ in range(count):
                peers.call(argv, peer.env)
        return (time.perf_counter() - begun) * 1000

    def crowd(self, count=500, part=50):
        """What a node full of containers costs; rctr alone, for the others take half an hour."""
        rctr = self.bench.rctr
        starts = []
        for _ in range(count):
            begun = time.perf_counter()
            rctr.run("run", "-d", rctr.image("busybox"), "sleep", "100000")
            starts.append(time.perf_counter() - begun)
        first, last = sum(starts[:part]), sum(starts[-part:])
        self.bench.row(f"{count} containers: start, last {part}", {"rctr": last / part * 1000, "first": first / part * 1000},
                       "first", 1 / 0.8)
        helpers = peers.pids_of(*rctr.helpers)
        memory = sum(map(peers.pss_kib, helpers)) / 1024
        self.bench.row(f"{count} containers: all memory but theirs", {"rctr": memory}, None, None, "MB")
        values = self.bench.alternate({"rctr": (rctr.argv("ps"), rctr.env)})
        self.bench.row(f"ps with {count} containers", values, None, None, limit=50)
        begun = time.perf_counter()
        rctr.remove_all()
        self.bench.row(f"rm -f of {count} containers, each", {"rctr": (time.perf_counter() - begun) * 1000 / count}, None, None)

    def logs(self, megabytes=512):
        """A container writes numbered lines as fast as it can, and somebody follows: how fast they arrive, and that
        all do."""
        lines = megabytes * (1 << 20) // 100
        script = f"awk 'BEGIN {{ for (i = 0; i < {lines}; i++) printf \"%09d %089d\\n\", i, 0 }}' > /tmp/lines; cat /tmp/lines; sleep 100000"
        live, later = {}, {}
        for peer in self.bench.all:
            opts = ["--log-opt", "max-size=4g"] if peer.name == "docker" else []
            peer.run("run", "-d", "--name", "writer", *opts, peer.image("busybox"), "sh", "-c", script)
            argv = peer.argv("logs", "-f", "writer")
            live[peer.name] = self._follow(peer, argv, lines)
            later[peer.name] = self._follow(peer, argv, lines)
            peer.remove_all()
        self.bench.row(f"logs -f of {megabytes} MB while they are written", live, None, None, "s")
        self.bench.row(f"logs -f of {megabytes} MB", later, None, None, "s", limit=round(megabytes / 200, 2))

    @staticmethod
    def _follow(peer, argv, lines) -> float:
        """Seconds from the first to the last line. Each line must be there once and in its place."""
        follower = subprocess.Popen(argv, env=peer.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        watchdog = threading.Timer(300, follower.kill)
        watchdog.start()
        try:
            size, begun, seen, tail = lines * 100, 0.0, 0, b""
            while seen < size:
                piece = follower.stdout.read1(1 << 20)
                if not piece:
                    raise RuntimeError(f"{peer.name}: the log ends after {seen} of {size} bytes")
                begun = begun or time.perf_counter()
                # Cheap, so that it is not the checker that is measured: the number of the last whole line tells
                # whether one is missing, since all are equally long.
                seen += len(piece)
                tail = (tail + piece)[-300:]
                last = tail.rfind(b"\n", 0, -1)
                whole = re.match(rb"\n(\d{9}) ", tail[last : last + 11])
                if tail.endswith(b"\n") and whole and int(whole[1]) != seen // 100 - 1:
                    raise RuntimeError(f"{peer.name}: line {int(whole[1])} ends at byte {seen}")
            return time.perf_counter() - begun
        finally:
            watchdog.cancel()
            follower.kill()
            follower.wait()
            follower.stdout.close()
