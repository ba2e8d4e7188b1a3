"""Makes a model one sizing's own."""
