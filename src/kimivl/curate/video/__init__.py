"""Short clips as frames with time labels."""
