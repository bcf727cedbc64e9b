"""The Optuna study as the only record of a search."""
