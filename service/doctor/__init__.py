"""Every health check with a verdict, and what to do about it."""
