"""Robustness checks: prompts, questions, perturbations, corruptions."""
