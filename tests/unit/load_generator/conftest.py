"""Imports Locust as it is harmless to the other tests of the same process."""

from __future__ import annotations

import pytest

with pytest.MonkeyPatch.context() as _patch:
    # Else Locust puts gevent's sockets and threads in the place of the standard library's.
    _patch.setenv("LOCUST_SKIP_MONKEY_PATCH", "1")
    import locust as locust
