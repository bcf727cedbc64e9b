"""Labels in a table beside a folder of images."""
