"""The HTML report: inputs go in, sections and figures come out."""
