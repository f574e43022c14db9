"""Export of a network to a file of another engine, and its comparison with the network in torch."""
