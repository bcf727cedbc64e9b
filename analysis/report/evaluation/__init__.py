"""The HTML report of an external evaluation."""
