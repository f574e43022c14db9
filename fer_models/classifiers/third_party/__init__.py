"""Third-party models as they are published, to compare one's own models with them face by face."""
