"""The report of a run: the page, evals.json, and tables for the terminal."""
