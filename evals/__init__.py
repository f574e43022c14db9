"""The evals: one module per question. Installed as `fer_models.evals`."""
