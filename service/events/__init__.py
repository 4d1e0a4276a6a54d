"""Event intake: Segment's tracking API in, streams out."""
