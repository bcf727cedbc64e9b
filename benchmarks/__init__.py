"""Programs that measure; each states what it measures, on what, against what."""
