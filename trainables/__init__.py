"""Everything that runs on a worker: the training core and the Ray entry points around it."""
