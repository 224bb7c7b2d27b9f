"""The rows of the report's table: measured values and their targets."""
