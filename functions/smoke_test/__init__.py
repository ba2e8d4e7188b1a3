"""Sends one real invocation to a new endpoint."""
