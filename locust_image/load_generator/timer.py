"""A timer on the event loop that is precise to a fraction of a millisecond.

libev rounds its timers to whole milliseconds; a timerfd is a file descriptor that becomes readable
at an absolute time of the monotonic clock, to the nanosecond.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable

import gevent

_NANOSECONDS = 1_000_000_000
_CLOCK_MONOTONIC = 1
_TFD_TIMER_ABSTIME = 1

if sys.version_info >= (3, 13):

    def _create() -> int:
        return os.timerfd_create(_CLOCK_MONOTONIC, flags=os.TFD_NONBLOCK | os.TFD_CLOEXEC)

    def _set(descriptor: int, nanoseconds: int) -> None:
        os.timerfd_settime_ns(descriptor, flags=os.TFD_TIMER_ABSTIME, initial=nanoseconds)

else:

    class _Timespec(ctypes.Structure):
        _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))

    class _Itimerspec(ctypes.Structure):
        _fields_ = (("interval", _Timespec), ("value", _Timespec))

    _libc = ctypes.CDLL(None, use_errno=True)

    def _create() -> int:
        descriptor: int = _libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if descriptor < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        return descriptor

    def _set(descriptor: int, nanoseconds: int) -> None:
        value = _Timespec(*divmod(nanoseconds, _NANOSECONDS))
        setting = _Itimerspec(_Timespec(0, 0), value)
        if _libc.timerfd_settime(descriptor, _TFD_TIMER_ABSTIME, ctypes.byref(setting), None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")


class PreciseTimer:
    """Calls back on the event loop at times of ``time.monotonic``."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._descriptor = _create()
        self._callback = callback
        self._watcher = gevent.get_hub().loop.io(self._descriptor, 1)
        self._watcher.start(self._fire)

    def at(self, when: float) -> None:
        """Call back at ``when``, seconds of the monotonic clock; at once if that has passed."""
        # Nought would disarm the timer.
        _set(self._descriptor, max(1, int(when * _NANOSECONDS)))

    def off(self) -> None:
        """Do not call back."""
        _set(self._descriptor, 0)

    def close(self) -> None:
        """Release the descriptor."""
        self._watcher.stop()
        self._watcher.close()
        os.close(self._descriptor)

    def _fire(self) -> None:
        try:
            os.read(self._descriptor, 8)
        except BlockingIOError:
            # It was set anew between becoming readable and this call.
            return
        self._callback()
