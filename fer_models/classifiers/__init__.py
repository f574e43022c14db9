"""Classifiers of facial emotions."""
