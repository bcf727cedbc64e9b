"""What to search: an Optuna trial goes in, a plain dict comes out. Runs on the driver only; one file a space."""
