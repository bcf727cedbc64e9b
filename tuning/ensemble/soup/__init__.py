"""A greedy soup of a search's trials: one network with their average weights, beside the ensemble of the search."""
