"""Turns a load test's results and CloudWatch's metrics into observations."""
