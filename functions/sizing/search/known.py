"""What is known of a candidate: what was seen, what that predicts, and which counts it accepts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sizing.catalogue.instance import InstanceFacts
from sizing.load_test.observation import LoadTestRecord
from sizing.request.request import Request
from sizing.search.prediction import Prediction, predict
from sizing.search.seen import Seen, see

#: Factor over the band's lower edge from which a count lies in the band without doubt.
CLEARLY = 1.01
#: Least probability to serve the target at which a count is accepted that was seen to do so:
#: where the next count is in the band as well, and elsewhere or where an earlier sizing found it.
SURENESS_IN_BAND = 0.92
SURENESS = 0.4


@dataclass(frozen=True, slots=True)
class Known:
    """A candidate, as all decisions about it see it.

    Args:
        seen: What its load tests have shown.
        predicted: What follows for other counts; None while nothing usable was seen.
        accepted: The counts that were tried and are taken to serve the target.
        prior_count: Count from an earlier sizing; None if there is none.
    """

    seen: Seen
    predicted: Prediction | None
    accepted: frozenset[int]
    prior_count: int | None = None

    @property
    def prediction(self) -> Prediction:
        """What follows for other counts.

        Raises:
            ValueError: Nothing was seen yet that a prediction could rest on.
        """
        if self.predicted is None:
            raise ValueError("nothing was seen yet that a prediction could rest on")
        return self.predicted

    @property
    def most_bad(self) -> int:
        """Largest count known not to serve the target; 0 if none is."""
        return max(self.seen.trials.keys() - self.accepted, default=0)

    @property
    def least_good(self) -> int | None:
        """Smallest count known to serve the target; None if none is."""
        bad = self.most_bad
        return min((n for n in self.seen.trials if n > bad), default=None)


def know(
    request: Request,
    facts: InstanceFacts,
    load_tests: Sequence[LoadTestRecord],
    prior_count: int | None = None,
) -> Known:
    """What is known of a candidate after all load tests of a sizing.

    A count is accepted if what was seen of it is within the limits, and all evidence together
    makes it likely to serve, now or when it had just been tried: what was good enough to go on from
    then does not become bad by the noise of a later load test.
    """
    mine = [each for each in load_tests if each.instance_type == facts.instance_type]
    seen = see(request, facts, ())
    predicted = predict(seen)
    accepted: frozenset[int] = frozenset()
    for end in range(1, len(mine) + 1):
        seen = see(request, facts, mine[:end])
        predicted = predict(seen)
        accepted = _accepted(seen, predicted, accepted, prior_count)
    return Known(seen, predicted, accepted, prior_count)


def _accepted(
    seen: Seen, predicted: Prediction | None, earlier: frozenset[int], prior_count: int | None
) -> frozenset[int]:
    serving = {count for count, trial in seen.trials.items() if trial.serves}
    if predicted is None:
        return frozenset()
    return frozenset(
        count
        for count in serving
        if count in earlier
        or predicted.probability_to_serve(count) >= sureness(predicted, count, prior_count)
    )


def sureness(predicted: Prediction, count: int, prior_count: int | None = None) -> float:
    """Probability to serve that is asked for of a count that was seen to.

    More where one instance more would be in the band as well, or where noise decides between the
    two: then the doubt costs little to remove.
    """
    if count == prior_count:
        return SURENESS
    band = predicted.seen.request.target.utilization_percent
    if predicted.utilization_at(count + 1) >= CLEARLY * band.min:
        return SURENESS_IN_BAND
    told = predicted.tells_apart(count, count + 1)
    return told * SURENESS + (1 - told) * SURENESS_IN_BAND
