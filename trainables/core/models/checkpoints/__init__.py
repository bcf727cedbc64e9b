"""Training states on disk, verified by checksum."""
