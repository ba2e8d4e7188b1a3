"""Removes what a sizing left behind."""
