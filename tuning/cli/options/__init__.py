"""Options of the commands, one file per panel of ``--help``, and the objects that their values stand for."""
