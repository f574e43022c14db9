"""Networks of published packages, to compare one's own models with them face by face."""
