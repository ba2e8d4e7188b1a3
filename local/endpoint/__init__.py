"""Local endpoints: what SageMaker would serve, played by a simulation on real sockets.

``client.EndpointServer`` is the way in; it starts ``python -m local.endpoint``, the one process
that serves all local endpoints.
"""
