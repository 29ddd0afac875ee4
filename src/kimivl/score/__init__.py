"""Pure functions from an answer and the truth to a score: rewards of training and metrics of evaluation alike."""
