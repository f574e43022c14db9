"""Training of the shipped networks: one session for all recipes."""
