"""Ensembles: rules, the choice among them, and their scores on the test set."""
