"""Side-by-side comparison of two ensembles on the same images."""
