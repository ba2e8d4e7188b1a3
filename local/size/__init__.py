"""A sizing on the embedded AWS: runs it and tells what it is doing. ``cli/`` shows that."""
