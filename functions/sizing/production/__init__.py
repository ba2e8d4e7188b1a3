"""What production endpoints get and have, and what an answer means for them."""
