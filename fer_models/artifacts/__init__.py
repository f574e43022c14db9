"""Files: checksums, JSON, downloads, weights, devices."""
