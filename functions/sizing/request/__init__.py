"""What a user asks, checked, and said back in one line where it is wrong.

Here live the request with all its defaults, its payloads, the key of the model it is about, and the
``Sizing``: the request as it was resolved, which all later decisions take.
"""
