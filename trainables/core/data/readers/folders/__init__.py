"""Layouts whose folders give the labels or masks."""
