"""Comparison with baselines: verdicts, power, restoration effects."""
