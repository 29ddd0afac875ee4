"""Reading originals from where they are stored, politely."""
