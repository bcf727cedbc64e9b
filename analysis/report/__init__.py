"""The HTML report of a search: inputs in, sections and figures out."""
