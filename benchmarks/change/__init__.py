"""How well a change is told from chance."""
