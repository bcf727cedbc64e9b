"""Readers, one per layout: class folders, tables, parquet, image-mask pairs, phantoms, object stores; and volumes."""
