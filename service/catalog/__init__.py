"""The catalog: placements, candidates and experiments, one document, validated and swapped whole."""
