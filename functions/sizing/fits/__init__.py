"""How what was measured depends on the rate per instance, and how sure that is.

``utilization``, ``latency`` and ``failures`` each fit theirs; the first two by Bayesian linear
``regression``. ``noise`` is what a sample or a percentile may be off by.
"""
