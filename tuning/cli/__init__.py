"""The commands, one file each. Importing one imports nothing heavy: ``--help`` must answer at once."""
