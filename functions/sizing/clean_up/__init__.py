"""Names, tags, locks and leftovers: how all that a sizing creates is found again and removed."""
