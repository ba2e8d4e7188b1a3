"""The messages that leader and workers exchange besides Locust's own."""

from __future__ import annotations

#: Worker to leader: it could send the first request now.
READY = "load_test_ready"
#: Worker to leader, about every second: the seconds that passed.
REPORT = "load_test_report"
#: Worker to leader: it cannot go on.
FAILED = "load_test_failed"
#: Leader to workers: start requests on this schedule.
FOLLOW = "load_test_follow"
#: Leader to workers: keep this many requests going.
HOLD = "load_test_hold"
#: Leader to workers: all is in; report for the last time.
FINISH = "load_test_finish"
