"""Shows how a table of the lake came to be as it is."""

from rich.console import Console
from rich.table import Table as RichTable

from taxi_shared.lake import Lake
from taxi_shared.tables import Table


def show_history(lake: Lake, table: Table, month: str, console: Console) -> None:
    """Print the commits of a table, newest first; only those of a month (`2023-03`) if given."""
    shown = RichTable(box=None)
    for heading in ("version", "time (UTC)", "month", "change", "run", "sha256", "source"):
        shown.add_column(heading, no_wrap=True)
    commits = [c for c in lake.history(table) if month in ("", c.details.get("month"))]
    for commit in commits:
        back = commit.details.get("rolled back to")
        change = "loaded" if commit.operation == "WRITE" else commit.operation.lower()
        shown.add_row(
            str(commit.version),
            f"{commit.time:%Y-%m-%d %H:%M}",
            commit.details.get("month", ""),
            f"rolled back to {back}" if back else change,
            commit.details.get("run", "")[:8],
            commit.details.get("sha256", "")[:8],
            commit.details.get("source", ""),
        )
    if commits:
        console.print(shown)
    else:
        console.print(f"No commits of {table.name}{f' for {month}' if month else ''}.")
