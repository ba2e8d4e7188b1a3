"""Adapters to AWS that several functions share."""
