"""The driver: asks the study, runs trials on Ray, records, tracks, shows progress, and hands over to analysis."""
