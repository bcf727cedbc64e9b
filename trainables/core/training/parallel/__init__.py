"""Training of one model by several devices of a machine, one process per device."""
