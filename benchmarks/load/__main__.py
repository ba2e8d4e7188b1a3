"""Measures the load generator against the method's own client: ``python -m benchmarks.load``.

Prints tables, as they stand in docs/load-generator.md, which says how to read them, and one JSON
line; every round as it goes to the standard error. Exits with 1 if one of its checks fails.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.load import servers
from benchmarks.load.checks import checks
from benchmarks.load.processes import LoadTestProcesses, Outcome, base_environment

BODY = json.dumps({"inputs": "I am super happy right now."})
CONNECTIONS = 32
RATES = (50, 200, 1000, 3000)
#: What the rates, and the p99 at a server that stalls, may be off by.
_RATE_ERROR_PERCENT = 0.2
_STALL_ERROR = 0.05
_SEED = Path(__file__).parent / "seed_locustfile.py"
_WRK_SCRIPT = """
wrk.method = "POST"
wrk.body = '{body}'
wrk.headers["Content-Type"] = "application/json"
"""


@dataclass(frozen=True, slots=True)
class Throughput:
    """What one client did in one round."""

    requests: float
    wall_seconds: float
    core_seconds: float
    failures: float

    @property
    def per_core_second(self) -> float:
        """Requests for each second of CPU time of all processes of the client."""
        return self.requests / self.core_seconds


class CpuSampler:
    """Samples CPU time several times a second, in a thread."""

    def __init__(self, read: Callable[[], float]) -> None:
        """Begin.

        Args:
            read: The CPU time so far, seconds; may raise ``psutil.NoSuchProcess`` at the end.
        """
        self._read = read
        self._samples: list[tuple[float, float]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            try:
                self._samples.append((time.time(), self._read()))
            except psutil.NoSuchProcess:
                return

    def between(self, start: float, end: float) -> float:
        """CPU seconds from ``start`` to ``end``, epoch seconds, interpolated."""
        self._stop.set()
        self._thread.join()
        return self._at(end) - self._at(start)

    def _at(self, moment: float) -> float:
        before = max(sample for sample in self._samples if sample[0] <= moment)
        after = min(sample for sample in self._samples if sample[0] >= moment)
        if after[0] == before[0]:
            return before[1]
        share = (moment - before[0]) / (after[0] - before[0])
        return before[1] + share * (after[1] - before[1])


def cpu_time_of(processes: Sequence[psutil.Process]) -> Callable[[], float]:
    """Reads the CPU time of processes, seconds."""

    def read() -> float:
        times = [process.cpu_times() for process in processes]
        return float(sum(each.user + each.system for each in times))

    return read


def busy_time_of(core: int) -> Callable[[], float]:
    """Reads for how long a core has been busy with anything, seconds; only differences mean much.

    The kernel measures idle time, but takes the rest in samples, at moments when a process that
    waits for a timer has just been woken.
    """

    def read() -> float:
        times = psutil.cpu_times(percpu=True)[core]
        return time.time() - float(times.idle + times.iowait)

    return read


class Bench:
    """The measurements, on a client core and a server core."""

    def __init__(self, seconds: int, directory: Path) -> None:
        cores = sorted(os.sched_getaffinity(0))
        self.client_core = cores[0]
        self.server_core = cores[-1]
        self.pinned = len(cores) > 1
        self._seconds = seconds
        self._directory = directory
        self._runs = 0

    @property
    def prefix(self) -> list[str]:
        """What pins a client to its core."""
        return ["taskset", "-c", str(self.client_core)]

    @property
    def leader_prefix(self) -> list[str]:
        """What pins the leader, which has a task of its own on Fargate, to the other one."""
        return ["taskset", "-c", str(self.server_core)]

    def _run_directory(self) -> Path:
        self._runs += 1
        directory = self._directory / f"run-{self._runs}"
        directory.mkdir()
        return directory

    def seed(self, url: str, certificate: Path, *, users: int = CONNECTIONS) -> Throughput:
        """The method's own client: a Locust process with boto3 users."""
        return self._seed(url, certificate, users, self._seconds)[0]

    def fasthttp(self, url: str, certificate: Path) -> Throughput:
        """Locust's FastHttpUser, in one process."""
        return self._seed(url, certificate, CONNECTIONS, self._seconds, user="FastUser")[0]

    def _seed(
        self, url: str, certificate: Path, users: int, seconds: int, user: str = "Boto3User"
    ) -> tuple[Throughput, dict[str, Any]]:
        directory = self._run_directory()
        books = directory / "books.json"
        process = psutil.Popen(
            [
                *self.prefix,
                *(sys.executable, "-m", "locust", "-f", str(_SEED), "--headless"),
                *("--only-summary", "-u", str(users), "-r", "1000", "-t", f"{seconds + 5}s"),
                *("--json-file", str(directory / "stats"), "--host", url, user),
            ],
            env=base_environment()
            | {
                "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": url,
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_CA_BUNDLE": str(certificate),
                "SEED_BOOKS": str(books),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        sampler = CpuSampler(cpu_time_of([process]))
        process.wait(seconds + 60)
        moments = json.loads(books.read_text())
        # The last seconds but one: all users are there, and none is being stopped.
        last = moments[-2]
        first = min(moments, key=lambda each: abs(last["t"] - seconds - each["t"]))
        report = json.loads((directory / "stats.json").read_text())[0]
        return (
            Throughput(
                requests=last["requests"] - first["requests"],
                wall_seconds=last["t"] - first["t"],
                core_seconds=sampler.between(first["t"], last["t"]),
                failures=last["failures"],
            ),
            report,
        )

    def ours(self, url: str, certificate: Path) -> Throughput:
        """The load generator: a leader and a worker, in a closed loop as fast as they can."""
        burst = {
            "start_concurrency": CONNECTIONS,
            "max_concurrency": CONNECTIONS,
            "stage_seconds": self._seconds + 1,
        }
        outcome, sampler, _ = self._load_test({"burst": burst, "steps": []}, url, certificate)
        assert outcome.document is not None
        (stage,) = outcome.document["saturation"]["stages"]
        start, end = stage["window"]["start"], stage["window"]["end"]
        moments = [each for each in outcome.document["timeline"] if start <= each["t"] < end]
        return Throughput(
            requests=sum(each["achieved_tps"] for each in moments),
            wall_seconds=end - start,
            core_seconds=sampler.between(start, end),
            failures=sum(each["error_tps"] for each in moments),
        )

    def bare_timer(self, rate: float) -> float:
        """How late a process that does nothing else wakes on the client's core: p99 in ms."""
        command = [sys.executable, "-m", "benchmarks.load.bare_timer", str(rate), "10"]
        return float(subprocess.check_output([*self.prefix, *command]))

    def step(self, url: str, certificate: Path, rate: float, **fields: Any) -> Any:
        """The load generator's figures of a step at a constant rate.

        With them, as ``other_cores_used``, how much of the worker's core others used meanwhile, and
        ``requests_per_core_second`` of all its processes.
        """
        core = CpuSampler(busy_time_of(self.client_core))
        specification = {"steps": [{"offered_tps": rate}], **fields}
        outcome, of_all, worker = self._load_test(specification, url, certificate)
        assert outcome.document is not None
        (step,) = outcome.document["steps"]
        if step["error_percent"] or not step["answers"]:
            raise RuntimeError(f"requests failed: {step}")
        start, end = step["window"]["start"], step["window"]["end"]
        others = core.between(start, end) - worker.between(start, end)
        spent = of_all.between(start, end)
        return step | {
            "other_cores_used": max(0.0, others / (end - start)),
            "requests_per_core_second": step["achieved_tps"] * (end - start) / spent,
        }

    def _load_test(
        self, fields: Mapping[str, Any], url: str, certificate: Path
    ) -> tuple[Outcome, CpuSampler, CpuSampler]:
        """How a load test ended, the CPU time of all its processes, and that of its worker."""
        specification = {
            "load_test_id": "benchmark",
            "endpoint_name": "my-endpoint",
            "payloads": {"inline": [{"body": BODY}]},
            "metric_period_seconds": 1,
            "settle_seconds": 1,
            "steady_seconds": 5,
            "workers": 1,
            **fields,
        }
        with LoadTestProcesses(
            specification,
            url=url,
            directory=self._run_directory(),
            environment={"AWS_CA_BUNDLE": str(certificate)},
            prefix=self.prefix,
            leader_prefix=self.leader_prefix,
        ) as processes:
            leader, worker = (psutil.Process(each.pid) for each in processes.running)
            of_all = CpuSampler(cpu_time_of([leader, worker]))
            of_worker = CpuSampler(cpu_time_of([worker]))
            outcome = processes.wait(600)
        if outcome.leader_exit_code != 0:
            raise RuntimeError("\n".join(outcome.logs))
        return outcome, of_all, of_worker

    def wrk(self, url: str) -> Throughput:
        """wrk with one thread and as many connections."""
        script = self._directory / "post.lua"
        script.write_text(_WRK_SCRIPT.format(body=BODY))
        output, core_seconds = self._timed(
            [
                *("wrk", "-t1", f"-c{CONNECTIONS}", f"-d{self._seconds}s", "-s", str(script)),
                f"{url}/endpoints/my-endpoint/invocations",
            ]
        )
        found = re.search(r"(\d+) requests in ([\d.]+)s", output)
        if found is None:
            raise RuntimeError(output)
        return Throughput(
            requests=int(found[1]),
            wall_seconds=float(found[2]),
            core_seconds=core_seconds,
            failures=0,
        )

    def h2load(self, url: str, rate: float, seconds: int) -> float:
        """h2load at a constant rate, as many a second for each connection; requests/core-s."""
        body = self._directory / "body.json"
        body.write_text(BODY)
        output, core_seconds = self._timed(
            [
                *("h2load", "--h1", "-t1", f"-c{CONNECTIONS}", f"-D{seconds}"),
                *(f"--rps={rate / CONNECTIONS}", f"-d{body}", "-HContent-Type: application/json"),
                f"{url}/endpoints/my-endpoint/invocations",
            ]
        )
        found = re.search(r"(\d+) succeeded, 0 failed, 0 errored", output)
        if found is None or not 0.9 < int(found[1]) / (rate * seconds) < 1.1:
            raise RuntimeError(output)
        return int(found[1]) / core_seconds

    def _timed(self, command: list[str]) -> tuple[str, float]:
        """What a client of one process prints, and its CPU time."""
        process = subprocess.Popen([*self.prefix, *command], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise RuntimeError(output)
        return output, usage.ru_utime + usage.ru_stime

    def stall(self, certificate: Path, server: servers.BenchmarkServer) -> tuple[float, float]:
        """p99 in milliseconds at the stalling server: ours, and the closed loop's."""
        period = int(servers.STALL_EVERY_SECONDS)
        step = self.step(
            server.http,
            certificate,
            200,
            metric_period_seconds=period,
            steady_seconds=3 * period,
            settle_seconds=0,
        )
        _, report = self._seed(server.http, certificate, 8, 2 * period)
        return step["client_latency_ms"]["p99"], _percentile(report["response_times"], 99)


def _percentile(response_times: Mapping[str, int], percent: float) -> float:
    left = sum(response_times.values()) * percent / 100
    for bucket, count in sorted((float(each), count) for each, count in response_times.items()):
        left -= count
        if left <= 0:
            return bucket
    return 0.0


def main() -> int:
    """Measure, print and check.

    Returns:
        The exit code.
    """
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    arguments.add_argument("--rounds", type=int, default=3, help="interleaved rounds (3)")
    arguments.add_argument("--seconds", type=int, default=5, help="of each measurement (5)")
    arguments.add_argument("--steady", type=int, default=30, help="seconds of each rate (30)")
    arguments.add_argument("--only-checks", action="store_true", help="measure no throughput")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        failed = _check(Path(directory))
    if options.only_checks:
        return int(failed > 0)
    with tempfile.TemporaryDirectory() as directory:
        bench = Bench(options.seconds, Path(directory))
        if not bench.pinned:
            _tell("Only one core: client and server share it, and the figures suffer.")
        # What measures must not be in the way of what is measured.
        os.sched_setaffinity(0, {bench.server_core})
        with servers.BenchmarkServer(core=bench.server_core) as server:
            print(
                f"Medians of {options.rounds} rounds of {options.seconds} s each; {CONNECTIONS} "
                f"connections; the server is {server.name}, on another core.\n"
            )
            ratios = _throughput(bench, server, options.rounds)
            rate_error, of_peer = _rates(bench, server, options.steady)
        with servers.BenchmarkServer(core=bench.server_core, stalling=True) as server:
            truth = servers.truth_of_stall_p99_ms()
            _tell("the server that stalls")
            ours, closed_loop = bench.stall(server.certificate, server)
    print(
        f"\nA server that stalls {servers.STALL_SECONDS:g} s in every "
        f"{servers.STALL_EVERY_SECONDS:g} s, p99 in ms: truth {truth:.0f}, this one {ours:.0f}, "
        f"the method's client {closed_loop:.0f}.\n"
    )
    figures = {
        **ratios,
        "of_fixed_rate_peer": None if of_peer is None else round(of_peer, 3),
        "rate_error_percent": round(rate_error, 4),
        "stall_p99_ms": round(ours, 1),
        "stall_truth_ms": round(truth, 1),
        "checks_failed": failed,
    }
    print(json.dumps(figures))
    if rate_error > _RATE_ERROR_PERCENT or abs(ours / truth - 1) > _STALL_ERROR:
        _tell(f"the rate is off by {rate_error:.3f} %, the stall's p99 is {ours:.0f} ms")
        return 1
    return int(failed > 0)


def _check(directory: Path) -> int:
    """Print the table of the checks; returns how many failed."""
    print("| what must hold | what was seen | |\n|---|---|---|")
    failed = 0
    for check in checks(directory):
        failed += not check.holds
        print(f"| {check.what} | {check.seen} | {'yes' if check.holds else '**no**'} |", flush=True)
    print()
    return failed


def _tell(line: str) -> None:
    """Say how it goes, beside what is printed."""
    print(line, file=sys.stderr, flush=True)


def _throughput(
    bench: Bench, server: servers.BenchmarkServer, rounds: int
) -> dict[str, float | None]:
    clients: dict[str, Callable[[], Throughput]] = {
        "the method's client, HTTP": lambda: bench.seed(server.http, server.certificate),
        "this one, HTTP": lambda: bench.ours(server.http, server.certificate),
        "the method's client, TLS": lambda: bench.seed(server.https, server.certificate),
        "this one, TLS": lambda: bench.ours(server.https, server.certificate),
        "FastHttpUser, HTTP": lambda: bench.fasthttp(server.http, server.certificate),
    }
    if shutil.which("wrk"):
        clients["wrk, HTTP"] = lambda: bench.wrk(server.http)
    else:
        _tell("wrk is not installed: of_wrk is null.")
    _tell(f"{'':28}{'requests/s':>12}{'CPU':>7}{'requests/core-s':>17}")
    seen: dict[str, list[float]] = {name: [] for name in clients}
    for _ in range(rounds):
        for name, run in clients.items():
            result = run()
            if result.failures:
                raise RuntimeError(f"{name}: {result.failures} requests failed")
            seen[name].append(result.per_core_second)
            _tell(
                f"{name:28}{result.requests / result.wall_seconds:12,.0f}"
                f"{result.core_seconds / result.wall_seconds:7.2f}"
                f"{result.per_core_second:17,.0f}"
            )
    median = {name: statistics.median(values) for name, values in seen.items()}
    print("| client | requests/core-s | us of CPU a request |\n|---|---:|---:|")
    for name, value in median.items():
        print(f"| {name} | {value:,.0f} | {1e6 / value:,.1f} |")
    http, tls = median["this one, HTTP"], median["this one, TLS"]
    return {
        "x_seed_http": round(http / median["the method's client, HTTP"], 1),
        "x_seed_tls": round(tls / median["the method's client, TLS"], 1),
        "x_fasthttp": round(http / median["FastHttpUser, HTTP"], 1),
        "of_wrk": round(http / median["wrk, HTTP"], 3) if "wrk, HTTP" in median else None,
    }


def _rates(
    bench: Bench, server: servers.BenchmarkServer, steady: int
) -> tuple[float, float | None]:
    """Print a line for each rate.

    Returns:
        The worst error of a rate, percent; and at the highest of them, how many requests for each
        second of CPU time, as a share of a peer's, where there is one.
    """
    print(
        "\n| offered/s | achieved/s | error % | lag p99 ms | of the median second "
        "| of a bare timer | CPU % | others on its core % |\n" + "|---:" * 8 + "|"
    )
    errors = []
    for rate in RATES:
        _tell(f"{rate} requests/s")
        bare = bench.bare_timer(rate)
        step = bench.step(server.http, server.certificate, rate, steady_seconds=steady)
        error = abs(step["achieved_tps"] / step["offered_tps"] - 1) * 100
        errors.append(error)
        print(
            f"| {step['offered_tps']:,.0f} | {step['achieved_tps']:,.2f} | {error:.3f} "
            f"| {step['workers']['lag_ms_p99']:.2f} "
            f"| {step['workers']['usual_lag_ms_p99']:.2f} | {bare:.2f} "
            f"| {step['workers']['cpu_percent_max']:.1f} | {100 * step['other_cores_used']:.0f} |"
        )
    if not shutil.which("h2load"):
        _tell("h2load is not installed: of_fixed_rate_peer is null.")
        return float(max(errors)), None
    _tell(f"{RATES[-1]} requests/s of h2load")
    peer = bench.h2load(server.http, RATES[-1], steady)
    print(
        f"\nAt {RATES[-1]:,} a second, requests/core-s: h2load {peer:,.0f}, "
        f"this one {step['requests_per_core_second']:,.0f}."
    )
    return float(max(errors)), step["requests_per_core_second"] / peer


if __name__ == "__main__":
    sys.exit(main())
