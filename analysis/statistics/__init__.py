"""Statistics: resampling, intervals, cross-fitting, selection bias, calibration, diversity and conformal prediction."""
