"""Studies of protocols, published claims and whole runs."""
