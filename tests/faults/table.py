"""The table of docs/reliability.md: a row per test, from its mark `fault`.

    @pytest.mark.fault("kill -9 of a run while a file arrives", "it is tried again", "nothing")

`pytest --write-faults` writes the rows of tests that passed, with the date. Other rows stay.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime

from taxi_platform.workspace import ROOT

PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"
HEAD = "| fault | what happens | what a person does | last run |\n|---|---|---|---|"
FAULT = re.compile(r"^\| (.+?) \|")
Row = tuple[str, str, str]


def write(rows: Iterable[Row]) -> None:
    """Write rows into the page: a fault, what happens, and what a person has to do."""
    today = datetime.now(UTC).date().isoformat()
    before, _, rest = PAGE.read_text().partition(BEGIN)
    old, _, after = rest.partition(END)
    lines = {match[1]: line for line in old.splitlines()[3:] if (match := FAULT.match(line))}
    lines |= {row[0]: f"| {' | '.join(row)} | {today} |" for row in rows}
    table = "\n".join([HEAD, *(lines[fault] for fault in sorted(lines))])
    PAGE.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}")
