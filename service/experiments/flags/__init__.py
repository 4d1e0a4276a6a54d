"""Flags: values that programs ask for by their id."""
