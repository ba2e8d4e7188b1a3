"""ApplyAnswer: an endpoint in production gets the answer."""
