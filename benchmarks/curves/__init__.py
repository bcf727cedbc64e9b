"""Real learning curves of four data sets, and the searchers that are compared on them."""
