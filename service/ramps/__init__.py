"""Ramps: a challenger gets more and more of the traffic while it does no harm, and none any more when it does."""
