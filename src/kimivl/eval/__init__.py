"""What a trained model can do: held-out sets, needle test, text loss, optimizer comparison, and the report of a run."""
