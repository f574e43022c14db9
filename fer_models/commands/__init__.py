"""One module per command of `fer-models`: `add` says what it takes, `run` does it. What is heavy is imported by `run`."""
