"""Comparison with baselines: verdicts, power and restoration effects."""
