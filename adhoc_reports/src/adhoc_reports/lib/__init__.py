"""What the asset and the sensor stand on; nothing here knows Dagster."""
