"""Streaming aggregates: declared once, updated by the worker and by replay, closed at `now` by service and training."""
