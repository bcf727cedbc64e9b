"""Search spaces, one file each: an Optuna trial goes in, a plain dict comes out. They run on the driver only."""
