"""Ensembles that a registered model runs, one file for each task."""
