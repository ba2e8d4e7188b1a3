"""How good the load generator is: what it costs, how exact it is, and what it tells apart."""
