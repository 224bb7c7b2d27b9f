"""The first rival: a script without Dagster that downloads months and writes the same Parquet.

It has no retries, checks, hashes, data quality counts or run history, and DuckDB's default memory
and threads. It downloads four files at a time, like the platform, while DuckDB writes the months
that have arrived.
"""

import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import duckdb
import requests

DOWNLOADS_AT_ONCE = 4
CHUNK_BYTES = 1 << 20
LATER_COLUMNS = ("cbd_congestion_fee", "request_source")


def main(source: str, target: Path, months: list[str]) -> None:
    """Load months (`2023-01`) from a source into `raw/` and `staging/trips/` of a folder."""
    (target / "raw").mkdir(parents=True)
    with duckdb.connect() as con, ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
        downloads = {pool.submit(download, source, target, month): month for month in months}
        for done in as_completed(downloads):
            load(con, done.result(), target, downloads[done])


def download(source: str, target: Path, month: str) -> Path:
    """Stream a month's file into `raw/`."""
    path = target / "raw" / f"taxi_trips_{month}.parquet"
    url = f"{source}/trip-data/yellow_tripdata_{month}.parquet"
    with requests.get(url, stream=True, timeout=60) as response, path.open("wb") as file:
        response.raise_for_status()
        for chunk in response.iter_content(CHUNK_BYTES):
            file.write(chunk)
    return path


def load(con: duckdb.DuckDBPyConnection, file: Path, target: Path, month: str) -> None:
    """Write a month's file to `staging/trips/`, with the columns and types of the platform."""
    folder = target / "staging" / "trips" / f"partition_date={month}-01"
    folder.mkdir(parents=True)
    available = {
        name for name, *_ in con.execute("DESCRIBE FROM read_parquet(?)", [str(file)]).fetchall()
    }
    query = Path(__file__).with_suffix(".sql").read_text()
    for column in LATER_COLUMNS:
        query = query.replace(f"{{{column}}}", column if column in available else "NULL")
    con.execute(
        f"COPY ({query}) TO $target (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 2, "
        "WRITE_BLOOM_FILTER false, DICTIONARY_SIZE_LIMIT 8192)",
        {"file": str(file), "target": str(folder / "trips.parquet")},
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
