"""The ensemble of a search: built, published and shown."""
