"""Prediction of labelled faces with a model, and the caches of what it needs."""
