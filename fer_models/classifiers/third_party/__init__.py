"""Networks inside published packages, one module per network. No code of these packages runs."""
