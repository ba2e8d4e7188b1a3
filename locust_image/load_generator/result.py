"""``load_test.json``: what the leader says of the load test."""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from load_generator.clocks import ClockOffset
from load_generator.histogram import Histogram
from load_generator.ledger import Ledger, Second
from load_generator.limits import ClientFigures, Delay, client_limited
from load_generator.saturation import Stage, bounded, saturation
from load_generator.schedule import Plateau, StepWindow
from load_generator.spec import BurstSpec, Spec
from load_generator.storage import Storage, StorageError
from load_generator.warm_up import WarmUp

log = logging.getLogger(__name__)

#: Standard deviations by which a Poisson process may offer fewer requests than its rate says.
_SPREAD = 4.0
#: By how much the clocks of tasks may differ, seconds.
_CLOCK_TOLERANCE = 2.0

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a load test failed: an error's name and a sentence."""

    name: str
    message: str


@dataclass(slots=True)
class Step:
    """A step as it was run."""

    offered_tps: float
    saturation_fraction: float | None
    window: StepWindow
    #: None until it is over.
    warm_up: WarmUp | None = None


@dataclass(slots=True)
class LoadTest:
    """A load test as it was run so far."""

    started_at: float
    load_test_id: str = ""
    endpoint_name: str = ""
    workers: int = 0
    worker_vcpus: float = 0.0
    processes_per_worker: int = 1
    #: Whether requests arrive as a Poisson process.
    poisson: bool = False
    #: vCPUs that each process may use, as it said itself.
    cpu_shares: dict[int, float] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    stages: list[Stage] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    #: The burst asked for, and how the endpoint was warmed up before it.
    burst: BurstSpec | None = None
    warm_up: WarmUp | None = None
    #: CPU time of the leader's own process by epoch second, seconds.
    leader_cpu: dict[int, float] = field(default_factory=dict)
    #: How far AWS's clock is ahead of the leader's.
    clock: ClockOffset | None = None

    @classmethod
    def of(cls, spec: Spec, started_at: float) -> LoadTest:
        """A load test that has just begun."""
        return cls(
            started_at=started_at,
            load_test_id=spec.load_test_id,
            endpoint_name=spec.endpoint_name,
            workers=spec.workers,
            worker_vcpus=spec.worker_vcpus,
            processes_per_worker=spec.processes_per_worker,
            poisson=spec.arrivals == "poisson",
            burst=spec.burst,
        )


def document(test: LoadTest, failure: Failure | None, finished_at: float) -> Json:
    """The whole of ``load_test.json``; of a failed test, what is known."""
    return {
        "load_test_id": test.load_test_id,
        "endpoint_name": test.endpoint_name,
        "status": "COMPLETED" if failure is None else "FAILED",
        "error": None if failure is None else {"name": failure.name, "message": failure.message},
        "started_at": test.started_at,
        "finished_at": finished_at,
        "workers": test.workers,
        "worker_vcpus": test.worker_vcpus,
        "clock": _clock(test.clock),
        "saturation": _saturation(test),
        # Steps that did not come to the end of their window have no figures.
        "steps": [
            _step(test, step) for step in test.steps if step.window.steady_end <= finished_at
        ],
        "timeline": _timeline(test),
    }


def encode(value: Json) -> bytes:
    """JSON, as the files of a load test are written."""
    return msgspec.json.encode(value)


def written_since(storage: Storage, started_at: float) -> bool:
    """Whether another task has written ``load_test.json`` since this one started, epoch seconds.

    One that is older is of an attempt before: a state machine may be redriven.
    """
    content = storage.read("load_test.json")
    if content is None:
        return False
    finished_at = msgspec.json.decode(content).get("finished_at", 0.0)
    return bool(finished_at >= started_at - _CLOCK_TOLERANCE)


def write_failure(storage: Storage, test: LoadTest, failure: Failure, finished_at: float) -> None:
    """Write ``load_test.json`` in the place of a leader that cannot, unless another has."""
    try:
        if not written_since(storage, test.started_at):
            content = encode(document(test, failure, finished_at))
            storage.write("load_test.json", content)
    except StorageError:
        log.exception("load_test.json could not be written")


def _clock(clock: ClockOffset | None) -> Json | None:
    if clock is None:
        return None
    return {
        "offset_seconds": round(clock.offset, 3),
        "uncertainty_seconds": round(clock.uncertainty, 3),
    }


def _saturation(test: LoadTest) -> Json | None:
    stages = test.stages
    if not stages:
        return None
    assert test.burst is not None
    best = saturation(stages)
    return {
        "tps": round(best.achieved_tps, 3) if best else 0.0,
        "concurrency": best.concurrency if best else stages[0].concurrency,
        "client_limited": best.client_limited if best else None,
        # It ended at max_concurrency while the rate still grew: the endpoint can take more.
        "bounded": bounded(test.burst, stages),
        "warm_up": _warm_up(test.warm_up),
        "stages": [
            {
                "concurrency": stage.concurrency,
                "achieved_tps": round(stage.achieved_tps, 3),
                "error_percent": round(stage.figures.error_percent, 4),
                "errors": stage.figures.errors,
                "latency_ms": _latency(stage.figures.latency),
                "client_limited": stage.client_limited,
                "window": {"start": stage.start, "end": stage.end},
            }
            for stage in stages
        ],
    }


def _warm_up(warm_up: WarmUp | None) -> Json | None:
    if warm_up is None:
        return None
    return {"seconds": round(warm_up.seconds, 3), "steady": warm_up.steady}


def _step(test: LoadTest, step: Step) -> Json:
    start, end = step.window.steady_start, step.window.steady_end
    figures = test.ledger.between(start, end)
    client = client_figures(test, start, end, step.offered_tps)
    cores = figures.cpu + sum(test.leader_cpu.get(second, 0.0) for second in range(start, end))
    result: Json = {
        "offered_tps": step.offered_tps,
        "saturation_fraction": step.saturation_fraction,
        "window": {"start": start, "end": end},
        "warm_up": _warm_up(step.warm_up),
        "achieved_tps": round(figures.succeeded / (end - start), 4),
        "answers": figures.answered,
        "invocations": figures.invoked,
        "error_percent": round(figures.error_percent, 4),
        "errors": figures.errors,
        "resent": figures.resent,
        "client_latency_ms": _latency(figures.latency),
        # From sending on: without what the client itself was late, or short of connections.
        "service_ms": _latency(figures.service),
        "client_limited": client_limited(client),
        "workers": {
            "count": client.workers_reporting,
            "cpu_percent_max": round(client.cpu_percent_max, 2),
            "lag_ms_p99": round(client.lag.p99_ms, 3),
            "usual_lag_ms_p99": round(client.lag.usual_p99_ms, 3),
            "connection_wait_ms_p99": round(client.connection_wait.p99_ms, 3),
            "cpu_cores_used": round(cores / (end - start), 4),
        },
    }
    if test.poisson:
        result["requests_due"] = figures.offered
    if figures.first_byte.counts:
        result["first_byte_ms"] = _latency(figures.first_byte)
    return result


def client_figures(test: LoadTest, start: int, end: int, offered_tps: float) -> ClientFigures:
    """How the workers fared from ``start`` to ``end`` (exclusive), epoch seconds."""
    figures = test.ledger.between(start, end)
    processes = test.workers * test.processes_per_worker
    each = [test.ledger.of_worker(process, start, end) for process in range(processes)]
    seconds = range(start, end)
    cpu_percents = [
        100 * process.cpu / len(seconds) / test.cpu_shares.get(number, 1.0)
        for number, process in enumerate(each)
    ]
    expected = offered_tps * len(seconds)
    by_chance = _SPREAD * math.sqrt(expected) if test.poisson else 0.0
    return ClientFigures(
        offered=math.floor(expected - by_chance) - processes,
        started=figures.offered - figures.unsent,
        lag=_lag(test.ledger, range(processes), seconds),
        cpu_percent_max=max(cpu_percents, default=0.0),
        connection_wait=Delay(
            _connection_wait_ms(figures),
            statistics.median_low(
                _connection_wait_ms(test.ledger.between(second, second + 1)) for second in seconds
            ),
        ),
        service_ms_p50=figures.service.percentile_ms(50),
        best_service_ms_p50=best_service_ms(test.ledger),
        workers_reporting=min(test.ledger.workers_in(second) for second in seconds)
        // test.processes_per_worker,
        workers=test.workers,
    )


def _lag(ledger: Ledger, workers: range, seconds: range) -> Delay:
    """The worst worker's: a merged figure would hide one that is late among many."""

    def p99(worker: int, start: int, end: int) -> float:
        return ledger.of_worker(worker, start, end).lag.percentile_ms(99) or 0.0

    return Delay(
        max(p99(worker, seconds.start, seconds.stop) for worker in workers),
        max(
            statistics.median_low(p99(worker, second, second + 1) for second in seconds)
            for worker in workers
        ),
    )


def _connection_wait_ms(figures: Second) -> float:
    """The 99th percentile; of most requests it is nought."""
    waits = figures.connection_wait
    return waits.percentile_ms(99, zeros=max(0, figures.sent - waits.count)) or 0.0


def best_service_ms(ledger: Ledger) -> float | None:
    """The least median time of service in any second, milliseconds; None if none succeeded."""
    medians = []
    for second in ledger.span():
        service = ledger.between(second, second + 1).service
        if service.counts:
            medians.append(service.percentile_ms(50))
    return min((median for median in medians if median is not None), default=None)


def _latency(histogram: Histogram) -> Json:
    figures = {
        "mean": histogram.mean_ms,
        "p50": histogram.percentile_ms(50),
        "p90": histogram.percentile_ms(90),
        "p99": histogram.percentile_ms(99),
        "max": histogram.max_ms,
    }
    return {name: None if value is None else round(value, 3) for name, value in figures.items()}


def _timeline(test: LoadTest) -> list[Json]:
    return [
        _moment(second, test.ledger.between(second, second + 1)) for second in test.ledger.span()
    ]


def _moment(second: int, figures: Second) -> Json:
    latency = _latency(figures.latency)
    return {
        "t": second,
        "offered_tps": figures.offered,
        "achieved_tps": figures.succeeded,
        "error_tps": figures.failed,
        "p50_ms": latency["p50"],
        "p99_ms": latency["p99"],
    }


def plateaus(steps: Sequence[Step]) -> list[Plateau]:
    """The schedule of steps: each lasts until the next one starts, the last to its window's end."""
    ends = [*(step.window.start for step in steps[1:]), steps[-1].window.steady_end]
    return [
        Plateau(step.window.start, end, step.offered_tps)
        for step, end in zip(steps, ends, strict=True)
    ]
