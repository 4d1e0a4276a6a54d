"""Decisions: what to show this visitor, here and now."""
