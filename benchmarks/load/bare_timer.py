"""How late the machine itself is: a process that wakes at a constant rate and does nothing else.

Run as ``python -m benchmarks.load.bare_timer <rate> <seconds>``; prints the p99 in milliseconds.
"""

from __future__ import annotations

import sys
import time


def lag_p99_ms(rate: float, seconds: float) -> float:
    """The p99 of how late ``time.sleep`` returns, in milliseconds, over so many seconds."""
    start = time.monotonic() + 0.1
    late = []
    for number in range(int(rate * seconds)):
        due = start + number / rate
        time.sleep(max(0.0, due - time.monotonic()))
        late.append(time.monotonic() - due)
    late.sort()
    return 1e3 * late[int(0.99 * len(late))]


if __name__ == "__main__":
    print(lag_p99_ms(float(sys.argv[1]), float(sys.argv[2])))
