"""Parquet files in the hub's layout."""
