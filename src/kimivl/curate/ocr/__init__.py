"""Reading: rendered words and real handwritten digits."""
