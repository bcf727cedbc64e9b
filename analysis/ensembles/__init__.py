"""Ensemble rules, the choice among them, and their evaluation on the test set."""
