"""The upgrade: rewrites what earlier releases left in the data root in today's form.

Killed at any point, it goes on at the next tick: a document is removed once its outcome is written.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from upath import UPath

from adhoc_reports.lib import request_files
from adhoc_reports.lib.catalog import Catalog, catalog_path, write_catalog
from adhoc_reports.lib.old_documents import (
    CATALOG,
    OldDocument,
    RequestNow,
    parse_ledger,
    to_outcome,
)
from adhoc_reports.lib.request_files import Content
from adhoc_reports.lib.store import ReportStore
from taxi_shared import storage

REQUESTS_PER_TICK = 1_000


def adopt(store: ReportStore, documents: Iterable[OldDocument]) -> None:
    """Rewrite the old documents of at most `REQUESTS_PER_TICK` requests, and at last the catalog.

    Raises what the storage raises.
    """
    by_stem: dict[str, list[OldDocument]] = defaultdict(list)
    for document in documents:
        by_stem[document.stem].append(document)
    catalogs = by_stem.pop(CATALOG, [])
    # The shortest first: the outcome of jan.report takes the place of the old report of jan.
    stems = sorted(by_stem, key=lambda stem: (len(stem), stem))[:REQUESTS_PER_TICK]
    requests = _requests_now(store, [by_stem[stem][0].filename for stem in stems])
    for stem in stems:
        _adopt_request(store, by_stem[stem], requests)
    if len(stems) == len(by_stem):
        for each in catalogs:
            _adopt_catalog(store, each)
        storage.remove(_ledger_path(store))


def _adopt_request(
    store: ReportStore, documents: list[OldDocument], requests: Mapping[str, RequestNow | None]
) -> None:
    filename, stem = documents[0].filename, documents[0].stem
    if filename not in requests:
        return  # its file cannot be read now; the next tick tries again
    outcome = to_outcome(documents, requests[filename])
    newer = store.read_outcome(stem)
    if outcome and not (newer and newer.updated >= outcome.updated):
        store.write_outcome(stem, outcome)
    for document in documents:
        storage.remove(store.root.outputs / document.name)


def _requests_now(store: ReportStore, filenames: Iterable[str]) -> dict[str, RequestNow | None]:
    """The request files of the names, None where there is none; without those not readable now."""
    folder = store.root.requests
    listed = {file.name: file for file in request_files.list_requests(folder) or ()}
    try:
        ledger = parse_ledger(storage.read_bytes(_ledger_path(store)))
    except FileNotFoundError:
        ledger = {}
    names = [*filenames]
    contents = request_files.read_requests(folder, [listed[n] for n in names if n in listed])
    found: dict[str, RequestNow | None] = {name: None for name in names if name not in listed}
    for name, content in contents.items():
        if isinstance(content, Content):
            found[name] = RequestNow(listed[name], content, ledger.get(name, ("", "")))
    return found


def _adopt_catalog(store: ReportStore, document: OldDocument) -> None:
    if isinstance(document.value, Catalog) and not catalog_path(store.root).exists():
        write_catalog(store.root, document.value)
    storage.remove(store.root.outputs / document.name)


def _ledger_path(store: ReportStore) -> UPath:
    return store.root.staging / "requests_seen.json"
