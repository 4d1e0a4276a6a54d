"""Experiments and flags: who gets which variant, and what came of it."""
