"""Readers, one per layout: class folders, parquet, image-mask pairs, phantoms, object stores."""
