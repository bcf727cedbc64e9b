"""Statistics of a model on data from elsewhere: calibration, net benefit, subgroups, shift and recalibration."""
