"""What measurements say to the targets, as rows of the report's table."""
