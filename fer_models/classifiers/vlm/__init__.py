"""Vision-language models as classifiers."""
