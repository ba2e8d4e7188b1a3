"""Worlds that misbehave: endpoints, their faults, and what production's measuring makes of them.

``truth`` is an endpoint without noise and says what is right; ``latency`` its distribution of
answer times. ``conditions`` says what goes wrong on top, ``modifiers`` turns a plain endpoint into
a worse one, a step at a time, and ``drawing`` lists the worlds. ``fleet`` is an endpoint in time;
``load_generator`` and ``cloudwatch`` play what observes it, and their figures go through the
project's own reading of them. ``bench`` runs the search that ships; ``score`` judges its answer.
"""
