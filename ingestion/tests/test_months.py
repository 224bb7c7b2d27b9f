"""Months side by side: who waits for whom, and what happens when nobody waits any more."""

import threading

from upath import UPath

from ingestion.lib.months import (
    FETCHED_AT_ONCE,
    LOADED_AT_ONCE,
    Fetched,
    Month,
    Source,
    side_by_side,
)

SOURCES = [Source(f"20{year}-01-01", "https://tlc.test", UPath("/raw")) for year in range(10, 30)]


def test_what_nobody_waits_for_is_neither_fetched_nor_loaded():
    fetched, begun, ended = [], [], []
    go_on = threading.Event()

    def fetch(source: Source, stop: threading.Event) -> Fetched:
        if not stop.is_set():
            fetched.append(source)
        return Fetched(None, None, 0.0, changed=False)

    def load(source: Source, file: Fetched) -> Month:
        begun.append(source)
        if source is not SOURCES[0]:
            assert go_on.wait(10)
        ended.append(source)
        return Month(source, file)

    months = side_by_side(SOURCES, fetch, load)
    assert next(months).source is SOURCES[0]
    threading.Timer(0.2, go_on.set).start()  # the months being loaded are loaded to their end
    months.close()
    assert set(ended) == set(begun)
    assert len(begun) <= 1 + LOADED_AT_ONCE
    assert len(fetched) <= 1 + FETCHED_AT_ONCE
    assert not [t for t in threading.enumerate() if t.name.startswith(("load_", "fetch_"))]
