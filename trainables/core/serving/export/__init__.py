"""A registered ensemble as one graph that runs without this package."""
