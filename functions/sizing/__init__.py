"""The domain of a sizing: pure decisions, no AWS calls, no clock, no network.

The rooms, each of which imports only from those above it: ``catalogue``, ``request``, ``clean_up``,
``endpoint``, ``load_test``, ``fits``, ``search``, ``production``, ``result``. ``errors`` belongs to
all of them.
"""

#: Of the whole project: the package, the stack's output and the results take it from here.
__version__ = "0.9.0"
