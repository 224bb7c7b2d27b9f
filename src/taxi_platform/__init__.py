"""The host of the platform: starts the instance, drives it, and makes sample data."""
