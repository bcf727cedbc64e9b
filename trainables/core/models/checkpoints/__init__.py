"""Training states on disk, verified by digest."""
