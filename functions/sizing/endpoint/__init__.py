"""A candidate's endpoint: the requests that deploy and scale it, and how far it is."""
