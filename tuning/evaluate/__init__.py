"""External evaluation of a registered model: labelled images that it has never seen, scored without refitting."""
