"""RecordResult: writes what a sizing came to, and says it in words."""
