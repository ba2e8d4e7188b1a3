"""The domain of a sizing: pure decisions, no AWS calls, no clock, no network."""
