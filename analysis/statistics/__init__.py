"""Statistics: resampling, cross-fitting, selection bias, calibration and diversity."""
