"""Code that runs on a Ray worker: the trainable, its checkpoint I/O, member inference and node requirements."""
