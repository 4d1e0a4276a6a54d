"""Import: files of rows into the event archive and a catalog, by a mapping; vectorised in DuckDB."""
