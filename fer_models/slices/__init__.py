"""Slices of a face set: groups of faces with a common property, from pixels, the dataset or a file."""
