"""95% intervals of scores of images in groups."""
