"""Complete networks: a backbone with its head, decoder or queries."""
