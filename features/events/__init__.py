"""Events: the only input. Their shapes, their bytes, and what of them features look at."""
