"""Resampling, cross-fitting, selection bias, calibration and diversity."""
