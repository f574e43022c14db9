"""Inference: predictions of models over a dataset, and their caches."""
