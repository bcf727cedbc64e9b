"""Whole searches, and the driver's own costs."""
