"""Which load test comes next, and when to stop.

What load tests have shown goes one way: ``search`` takes the history, ``seen`` reads it,
``prediction`` says by ``sizing.fits`` what follows for other counts, ``known`` which counts serve.
``next_count`` decides by that between counts of one candidate, and ``search`` between candidates;
``rates`` is what the next load test offers, ``answer`` what became of each, ``diagnosis`` what else
was found.
"""
