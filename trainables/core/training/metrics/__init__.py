"""Metrics of each task, from the predictions of a pass."""
