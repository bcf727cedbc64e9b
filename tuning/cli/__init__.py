"""One file per command. None imports anything heavy at the top, so that ``--help`` answers at once."""
