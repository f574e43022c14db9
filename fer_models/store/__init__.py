"""Stored predictions: subjects, keys and Parquet files."""
