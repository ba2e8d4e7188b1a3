"""The load generator: Locust, distributed, with an open-loop engine of its own.

Importing this package imports neither Locust nor boto3, so its pure parts can be used anywhere.
``python -m load_generator`` runs one task of a load test, leader or worker.
"""
