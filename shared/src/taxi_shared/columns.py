"""The reference page of the lake's columns, generated from `tables`.

`python -m taxi_shared.columns` writes `docs/reference/columns.md`.
"""

from pathlib import Path

from taxi_shared.tables import TABLES, Column, Table

PAGE = Path("docs/reference/columns.md")
HEADINGS = ("Column", "Type", "Meaning", "In TLC's files", "First month", "Last month")
INTRODUCTION = """# Columns of the lake

Made from `shared/src/taxi_shared/tables.py` by `python -m taxi_shared.columns`; change it there.
Months are those whose files must have the column; an empty last month means that they still do.
The rows of a table have no promised order: sort where it matters.
"""


def page() -> str:
    """Return the page in Markdown."""
    return "\n".join([INTRODUCTION, *(_section(table) for table in TABLES)])


def _section(table: Table) -> str:
    rows = [HEADINGS, ("---",) * len(HEADINGS), *(_row(column) for column in table.all_columns)]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"## {table.name}\n\n{lines}\n"


def _row(column: Column) -> tuple[str, ...]:
    first = (column.first or "where there") if column.sources else ""
    description = column.description
    if column.coordinates:
        description += f" Before {column.first} from {' and '.join(column.coordinates)}."
    return (
        f"`{column.name}`",
        column.type,
        description,
        _origin(column),
        first,
        (column.last or "") if column.sources else "",
    )


def _origin(column: Column) -> str:
    if column.expression:
        return f"computed: `{column.expression}`"
    names = ", ".join(f"`{name}`" for name in column.sources)
    codes = ", ".join(f"{text} {code}" for text, code in column.codes.items())
    return f"{names}; texts {codes}" if codes else names


if __name__ == "__main__":
    PAGE.write_text(page())
