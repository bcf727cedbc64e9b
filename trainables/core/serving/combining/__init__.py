"""Rules that combine predictions: of members to those of an ensemble, and of images to those of a patient."""
