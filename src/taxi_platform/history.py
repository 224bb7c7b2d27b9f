"""Shows how a table of the lake came to be as it is."""

from rich.console import Console
from rich.table import Table as RichTable

from taxi_shared.lake import Lake
from taxi_shared.tables import Table


def show_history(lake: Lake, table: Table, month: str, console: Console) -> None:
    """Print the commits of a table, newest first; only those of a month (`2023-03`) if given."""
    shown = RichTable("version", "time (UTC)", "month", "what", "source", "sha256", "run")
    commits = [c for c in lake.history(table) if month in ("", c.details.get("month"))]
    for commit in commits:
        details = dict(commit.details)
        back = details.get("rolled back to")
        shown.add_row(
            str(commit.version),
            f"{commit.time:%Y-%m-%d %H:%M:%S}",
            details.get("month", ""),
            f"rolled back to {back}" if back else commit.operation.lower(),
            details.get("source", ""),
            details.get("sha256", "")[:12],
            details.get("run", "")[:8],
        )
    if commits:
        console.print(shown)
    else:
        console.print(f"No commits of {table.name}{f' for {month}' if month else ''}.")
