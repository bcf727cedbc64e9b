"""The ensemble of a search: building, printing, publishing and rebuilding it."""
