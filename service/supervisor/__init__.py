"""One process tree: what it is made of (tree), how it is kept running (supervision) and what it runs (processes)."""
