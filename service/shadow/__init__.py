"""Shadow scoring: what a challenger would have made of decisions that the champion has made, off their path."""
