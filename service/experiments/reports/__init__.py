"""Reports on experiments: a table of units that grows from the archive, and what it says in figures and words."""
