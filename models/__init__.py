"""How we choose: from closed features to scores, and from scores to a slate with its probabilities."""
