"""What a worker reports of its jobs: metrics, traces and MLflow runs."""
