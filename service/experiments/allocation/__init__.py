"""Weights that move by themselves, and what of them binds whom."""
