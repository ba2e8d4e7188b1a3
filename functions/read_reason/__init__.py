"""Says why a load test broke."""
