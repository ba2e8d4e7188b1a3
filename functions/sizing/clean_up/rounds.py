"""A clean-up goes round by round: when the next one comes, and when it is given up."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

#: So many rounds in a row in which something was refused for another reason than being busy won't
#: get better.
_MOST_ROUNDS_WITH_PROBLEMS = 10
#: Seconds between rounds, for as long as there were no more than that many. Deleting takes seconds;
#: an endpoint that is still being created takes up to an hour.
_WAITS = ((1, 2), (6, 5))
_LATE_WAIT_SECONDS = 30
#: The same when only locks were left.
_WAIT_AFTER_LOCKS_SECONDS = 1


class Rounds(BaseModel):
    """The rounds of a clean-up so far."""

    model_config = ConfigDict(frozen=True)

    rounds: int = 0
    #: In a row, up to the last one.
    rounds_with_problems: int = 0
    #: What was refused in the last one, a line each.
    problems: tuple[str, ...] = ()

    def are_enough(self, age_seconds: float, timeout_seconds: float) -> bool:
        """Whether it is to be given up, if anything is left.

        Args:
            age_seconds: How long it has been going on.
            timeout_seconds: How long it may.
        """
        too_often = self.rounds_with_problems >= _MOST_ROUNDS_WITH_PROBLEMS
        return too_often or age_seconds > timeout_seconds

    def after(self, problems: tuple[str, ...]) -> Rounds:
        """With one more, in which that was refused."""
        in_a_row = self.rounds_with_problems + 1 if problems else 0
        return Rounds(rounds=self.rounds + 1, rounds_with_problems=in_a_row, problems=problems)

    def seconds_to_next(self, *, released_locks: bool) -> int:
        """How long to wait before the next one."""
        if released_locks:
            return _WAIT_AFTER_LOCKS_SECONDS
        return next((wait for until, wait in _WAITS if self.rounds <= until), _LATE_WAIT_SECONDS)
