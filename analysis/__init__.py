"""After the search: reads the study and the checkpoints, and builds the ensemble."""
