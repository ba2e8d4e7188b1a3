"""What makes an endpoint worse: small changes of its truth or its conditions, which compose.

Each draws its own size from a stated range. ``MODIFIERS`` names those that a mixed world takes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import get_args

from benchmarks.search.worlds.conditions import Conditions, Warming
from benchmarks.search.worlds.truth import USUAL_QUEUE, Truth

Drawn = tuple[Truth, Conditions]
Modifier = Callable[[Random, Truth, Conditions], Drawn]


def log_uniform(random: Random, low: float, high: float) -> float:
    """A number between two, whose logarithm is uniform."""
    return math.exp(random.uniform(math.log(low), math.log(high)))


def scaled(truth: Truth, rate: float, wanted: float) -> Truth:
    """The endpoint with another CPU time, so that a rate becomes what is wanted."""
    factor = rate / wanted
    return replace(truth, cpu_ms=truth.cpu_ms * factor, client_tps=truth.client_tps / factor)


def stray_errors(random: Random, truth: Truth, conditions: Conditions) -> Drawn:
    """One request in 1,000 to 100,000 fails, independent of all others."""
    return replace(truth, error_rate=log_uniform(random, 1e-5, 1e-3)), conditions


def stalls(random: Random, truth: Truth, conditions: Conditions) -> Drawn:
    """It freezes for 1 to 4 s, 2 to 8 times an hour; in half of them requests fail, not wait."""
    often = log_uniform(random, 2, 8)
    fails = random.random() < 0.5
    return truth, replace(conditions, stalls_per_hour=often, stall_fails=fails)


def cold_start(random: Random, truth: Truth, conditions: Conditions) -> Drawn:
    """A new instance takes 30 to 240 s under load to get warm; at first it costs 1.2 to 3 times.

    It gets warm in proportion to time, as an exponential does, or all at once.
    """
    return truth, _colder(random, conditions, 30, 240)


def long_cold_start(random: Random, truth: Truth, conditions: Conditions) -> Drawn:
    """The same, but 240 to 900 s: longer than some load tests take."""
    return truth, _colder(random, conditions, 240, 900)


def _colder(random: Random, conditions: Conditions, least: float, most: float) -> Conditions:
    cost, seconds = random.uniform(0.2, 2.0), log_uniform(random, least, most)
    warming: Warming = random.choice(get_args(Warming))
    return replace(conditions, cold_cost=cost, cold_seconds=seconds, warming=warming)


def start_errors(random: Random, truth: Truth, conditions: Conditions) -> Drawn:
    """In its first 40 to 200 s under load, 0.2 to 20 % of a new instance's requests fail."""
    share, seconds = log_uniform(random, 0.002, 0.2), random.uniform(40, 200)
    return truth, replace(conditions, start_error_share=share, start_error_seconds=seconds)


def slow_answers(random: Random, truth: Truth, conditions: Conditions) -> Drawn:
    """Answers take 2 to 10 s, nearly all of it off the CPU, lognormal with sigma 0.05 to 0.8.

    An instance has 3 to 1,000 of them in flight when it is full.
    """
    seconds, sigma = log_uniform(random, 2, 10), random.uniform(0.05, 0.8)
    wanted = log_uniform(random, 3, 1000) / seconds
    truth = scaled(truth, truth.capacity(1), wanted)
    return replace(truth, off_cpu_ms=1000 * seconds, off_cpu_sigma=sigma), conditions


def samples(random: Random, truth: Truth, conditions: Conditions) -> Drawn:
    """Each instance publishes on its own phase, with jitter; up to 1 % of samples are missing."""
    return truth, replace(
        conditions,
        own_phase=True,
        sample_jitter_seconds=random.uniform(0.1, 1.0),
        sample_missing=random.uniform(0.0, 0.01),
    )


def hyper_threads(random: Random, truth: Truth, conditions: Conditions) -> Drawn:
    """A core's second thread adds 10 to 40 % of what the first one does."""
    return replace(truth, hyper_threads=random.uniform(0.1, 0.4)), conditions


def gpu(random: Random, truth: Truth, conditions: Conditions) -> Drawn:
    """A GPU: utilization is the load to the power of 0.5 to 0.95; half fill its memory at once."""
    power = random.uniform(0.5, 0.95)
    memory = 96.0 if random.random() < 0.5 else random.uniform(20, 80)
    gpus = random.choice((1, 1, 1, 4, 8))
    truth = replace(truth, gpus=gpus, gpu_power=power)
    return truth, replace(conditions, gpu_memory_percent=memory)


def correlated_noise(random: Random, truth: Truth, conditions: Conditions) -> Drawn:
    """A sample's noise follows the one before with 0.5 to 0.95, and all share 0 to 1 % of it."""
    return truth, replace(
        conditions,
        noise_correlation=random.uniform(0.5, 0.95),
        shared_noise=random.uniform(0.0, 0.01),
    )


def container(random: Random, truth: Truth, conditions: Conditions) -> Drawn:
    """The container stops at 20 to 95 % of what the hardware could do, with a bounded queue."""
    share = random.uniform(0.2, 0.95)
    return replace(truth, served_share=share, queue=USUAL_QUEUE), conditions


def slow_instance(random: Random, truth: Truth, conditions: Conditions) -> Drawn:
    """One instance of every fleet takes 1.1 to 1.4 times as long."""
    return replace(truth, slow_instance=random.uniform(1.1, 1.4)), conditions


def heavy_tails(random: Random, truth: Truth, conditions: Conditions) -> Drawn:
    """The time of service is lognormal with a sigma of 0.4 to 1."""
    return replace(truth, sigma=random.uniform(0.4, 1.0)), conditions


def background(random: Random, truth: Truth, conditions: Conditions) -> Drawn:
    """2 to 20 % of the CPUs are busy without any request."""
    return replace(truth, background=random.uniform(0.02, 0.2)), conditions


def two_kinds(random: Random, truth: Truth, conditions: Conditions) -> Drawn:
    """0.3 to 10 % of the requests take 3 to 15 times as long as the others."""
    share, factor = log_uniform(random, 0.003, 0.1), log_uniform(random, 3, 15)
    return replace(truth, long_share=share, long_factor=factor), conditions


def pauses(random: Random, truth: Truth, conditions: Conditions) -> Drawn:
    """Each instance stands still for 0.2 to 5 % of its time, requests wait 20 to 300 ms for it."""
    share, wait = log_uniform(random, 0.002, 0.05), log_uniform(random, 20, 300)
    return replace(truth, pause_share=share, pause_ms=wait), conditions


def short_queue(random: Random, truth: Truth, conditions: Conditions) -> Drawn:
    """The container refuses what more than a few requests wait for: it fails under saturation."""
    share, queue = random.uniform(0.5, 1.0), round(log_uniform(random, 1, 30))
    return replace(truth, served_share=share, queue=queue), conditions


#: What a mixed world takes two or three of.
MODIFIERS: tuple[Modifier, ...] = (
    stray_errors,
    stalls,
    cold_start,
    start_errors,
    slow_answers,
    samples,
    hyper_threads,
    gpu,
    correlated_noise,
    container,
    slow_instance,
    heavy_tails,
)


def mixed(random: Random, truth: Truth, conditions: Conditions) -> Drawn:
    """Two or three of the others at once."""
    for modifier in random.sample(MODIFIERS, random.choice((2, 3))):
        truth, conditions = modifier(random, truth, conditions)
    return truth, conditions
