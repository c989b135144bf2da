"""MLflow artifact store for ``sftp://`` locations."""
