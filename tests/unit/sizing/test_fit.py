"""The fits give back the laws that points were made by, and know how sure they are."""

from __future__ import annotations

import math
from random import Random
from statistics import fmean

import pytest

from sizing.fits.latency import LatencyPoint, latency_at
from sizing.fits.noise import p99_noise, p99_of_few, pooled_noise
from sizing.fits.utilization import COMMON_NOISE, UtilizationPoint, fit_utilization


def point(rate, utilization, *, instances=1, load_test=0, noise=0.001):
    return UtilizationPoint(rate, utilization, instances, load_test, noise)


class TestUtilization:
    def test_a_constant_cost_is_a_straight_line(self):
        fitted = fit_utilization([point(rate, rate / 2) for rate in (100, 130, 160)])
        assert fitted.utilization_at(120.0) == pytest.approx(60, rel=0.002)
        assert fitted.tps_at(65.0) == pytest.approx(130, rel=0.002)

    def test_a_cost_that_grows_with_utilization_is_followed(self):
        def utilization(rate: float) -> float:
            value = rate / 2
            for _ in range(50):
                value = rate / 2 * math.exp(0.2 * (value - 65) / 100)
            return value

        fitted = fit_utilization([point(rate, utilization(rate)) for rate in (90, 120, 150)])
        assert fitted.mean[1] == pytest.approx(0.2, abs=0.02)
        assert fitted.utilization_at(135.0) == pytest.approx(utilization(135), rel=0.003)

    def test_rate_and_utilization_are_inverse(self):
        fitted = fit_utilization([point(100, 51), point(130, 68), point(160, 86)])
        for utilization in (5.0, 40.0, 70.0, 99.0):
            rate = fitted.tps_at(utilization, 12)
            assert fitted.utilization_at(rate, 12) == pytest.approx(utilization, rel=1e-9)

    def test_a_fleet_that_costs_more_is_seen(self):
        single = [point(rate, rate / 2) for rate in (100, 130, 160)]
        fleet = [point(rate, rate / 2 * 1.05, instances=30, load_test=1) for rate in (120, 130)]
        fitted = fit_utilization(single + fleet)
        assert fitted.utilization_at(125.0, 30) == pytest.approx(62.5 * 1.05, rel=0.005)
        assert fitted.utilization_at(125.0, 1) == pytest.approx(62.5, rel=0.005)

    def test_a_rate_out_of_reach_is_far_over_a_hundred_percent(self):
        fitted = fit_utilization([point(100, 50), point(130, 80), point(150, 120)])
        assert fitted.utilization_at(1e6) >= 1000

    def test_more_points_are_surer_and_one_load_test_never_surer_than_its_common_noise(self):
        few = fit_utilization([point(130, 65, noise=0.02)])
        many = fit_utilization([point(130, 65, noise=0.02) for _ in range(10)])
        endless = fit_utilization([point(130, 65, noise=0.02) for _ in range(1000)])
        assert few.error_at(65) > many.error_at(65) > endless.error_at(65)
        assert endless.error_at(65) >= COMMON_NOISE

    def test_the_stated_error_is_the_error_made(self):
        random = Random(20260927)
        deviations = []
        for _ in range(400):
            slope, common = random.gauss(0.05, 0.12), random.gauss(0, COMMON_NOISE)
            points = [
                point(
                    utilization * 2 * math.exp(-slope * (utilization - 65) / 100),
                    utilization * math.exp(common + random.gauss(0, 0.01)),
                    noise=0.01,
                )
                for utilization in (50.0, 65.0, 80.0)
            ]
            fitted = fit_utilization(points)
            deviations.append(math.log(fitted.utilization_at(130.0) / 65) / fitted.error_at(65))
        assert math.sqrt(sum(each**2 for each in deviations) / 400) == pytest.approx(1, abs=0.12)

    def test_no_points(self):
        with pytest.raises(ValueError, match="at least one point"):
            fit_utilization([])


class TestLatency:
    @staticmethod
    def points(loads, instances=1, load_test=0):
        return [LatencyPoint(load, 100 / (1 - load), instances, load_test, 0.002) for load in loads]

    def test_a_queue_is_followed(self):
        points = self.points((0.35, 0.5, 0.65, 0.8))
        for load in (0.4, 0.6, 0.7):
            latency, error = latency_at(points, load, 1)
            assert latency == pytest.approx(100 / (1 - load), rel=0.03)
            assert abs(math.log(latency * (1 - load) / 100)) < 3 * error

    def test_near_points_count_most(self):
        points = [
            LatencyPoint(load, latency, 1, 0, 0.002)
            for load, latency in ((0.3, 100), (0.6, 100), (0.62, 104), (0.64, 108))
        ]
        assert latency_at(points, 0.63, 1)[0] == pytest.approx(106, rel=0.01)

    def test_it_is_less_sure_far_from_what_was_seen(self):
        points = self.points((0.5, 0.55, 0.6))
        assert latency_at(points, 0.2, 1)[1] > latency_at(points, 0.55, 1)[1]
        assert latency_at(points, 0.55, 20)[1] > latency_at(points, 0.55, 1)[1]

    def test_an_overload_is_taken_as_nearly_full(self):
        latency, _ = latency_at(self.points((0.5, 0.7, 0.9)), 1.7, 1)
        assert math.isfinite(latency)


class TestNoise:
    def test_the_error_of_a_p99_is_that_of_samples_of_an_exponential(self):
        random = Random(1)
        size, p50, p99 = 2000, math.log(2), math.log(100)
        quantiles = []
        for _ in range(600):
            sample = sorted(random.expovariate(1) for _ in range(size))
            quantiles.append(sample[int(0.99 * size)])
        mean = sum(quantiles) / len(quantiles)
        spread = math.sqrt(sum((each - mean) ** 2 for each in quantiles) / len(quantiles))
        assert p99_noise(p50, p99) / math.sqrt(size) == pytest.approx(spread / p99, rel=0.15)

    def test_scatter_overrules_what_is_usual(self):
        seen = [(0.04 / math.sqrt(6), 6)] * 20
        assert pooled_noise(0.02, seen) == pytest.approx(0.04, rel=0.05)
        assert pooled_noise(0.02, []) == 0.02


@pytest.mark.parametrize("requests", [20, 30, 50])
def test_the_slowest_of_few_is_raised_to_the_p99_of_an_exponential_tail(requests):
    random = Random(1)
    found = []
    for _ in range(4000):
        latencies = sorted(random.expovariate(1.0) for _ in range(requests))
        # The quantiles themselves would be ln 10 and ln 100.
        found.append(p99_of_few(math.log(10), latencies[-1], requests))
    assert fmean(found) == pytest.approx(math.log(100), rel=0.03)


def test_a_p99_of_many_is_left_alone():
    assert p99_of_few(10.0, 20.0, 100) == 20.0


def test_latency_does_not_rise_again_under_the_lowest_load_that_was_seen():
    points = [
        LatencyPoint(load=load, latency_ms=latency, instances=1, load_test=0, noise=0.01)
        for load, latency in ((0.5, 100.0), (0.65, 101.0), (0.8, 140.0), (0.9, 220.0))
    ]
    falling = [latency_at(points, load, 1)[0] for load in (0.5, 0.3, 0.1, 0.01)]
    assert falling == sorted(falling, reverse=True)
