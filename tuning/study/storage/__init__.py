"""Storage of a study: the journal or database, the lease of its only writer, and the caches of what it wrote."""
