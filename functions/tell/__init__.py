"""Tell: people and machines hear that a sizing is over."""
