"""What can be said from counts of units: pure functions on numpy, from sums that add."""
