"""Sections of a report, one subject per file."""
