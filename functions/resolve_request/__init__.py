"""Resolves a request into all that its sizing needs."""
