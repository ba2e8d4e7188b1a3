"""Decides the next load test, or that the search is done."""
