"""Restorers of face images."""
