"""What a sizing came to, said to machines and people, and remembered for the next one."""
