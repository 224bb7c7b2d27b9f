"""Helpers of the tests of several projects; in no wheel and no image of the platform."""
