"""Labelled images from elsewhere: their labels in the classes of a model, and the subgroups of their columns."""
