"""History of runs: one SQLite file next to the store. Nothing here predicts, scores or judges."""
