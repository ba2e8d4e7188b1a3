"""Checks of the state machines that no public validator makes.

A validator knows the states language. It does not know whether a variable has a value, whether an
API takes a parameter, or whether an error that a Catch waits for can ever arrive.
"""
