"""The daemon's intervals, which have no setting in Dagster."""

import importlib
import logging

import pytest

from taxi_platform import daemon


def test_intervals_are_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails where a new Dagster has no such constant any more."""
    constants = [(importlib.import_module(name), each, s) for name, each, s in daemon.INTERVALS]
    for module, constant, seconds in constants:
        dagsters = getattr(module, constant)
        assert dagsters > seconds
        monkeypatch.setattr(module, constant, dagsters)  # restored afterwards
    daemon.shorten_intervals()
    assert all(getattr(module, constant) == seconds for module, constant, seconds in constants)


def test_missing_constant_is_reported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(daemon, "INTERVALS", (("dagster._daemon.sensor", "GONE", 1),))
    with caplog.at_level(logging.WARNING):
        daemon.shorten_intervals()
    assert "GONE is gone: Dagster's own interval holds" in caplog.text
