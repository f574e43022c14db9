"""History of runs: one SQLite file beside the store. Nothing here predicts, scores or judges."""
