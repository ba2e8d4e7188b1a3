"""Which load test comes next, and when to stop.

``search`` decides between candidates and ``next_count`` between counts of one; ``rates`` is what
the next load test offers, ``outcome`` and ``answer`` what became of each. All of it follows from
the ``evidence``, in which ``fit`` predicts what was not seen.
"""
