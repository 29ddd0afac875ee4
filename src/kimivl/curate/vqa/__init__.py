"""Visual question answering from packages that bring real splits."""
