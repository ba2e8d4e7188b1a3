"""Brings an endpoint to an instance count."""
