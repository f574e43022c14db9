"""Models and restorers by name."""
