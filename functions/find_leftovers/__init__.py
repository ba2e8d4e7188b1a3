"""Finds what a sizing left behind."""
