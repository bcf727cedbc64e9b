"""Inspection of trained networks: Grad-CAM, features and latency."""
