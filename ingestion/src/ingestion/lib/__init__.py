"""What the assets stand on; nothing here knows Dagster."""
