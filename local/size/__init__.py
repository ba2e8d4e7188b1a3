"""``make size``: a sizing on the embedded AWS, from a request's file to result.json."""
