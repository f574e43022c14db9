"""Metrics, intervals and paired tests of stored predictions."""
