"""The search methods that are compared, one file per library."""
