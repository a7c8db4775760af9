"""``harness efficiency``: measured cost of each method in the network, in the format of the paper's Table 5."""

from __future__ import annotations

from harness.commands.options import CellFilter, JsonOption, verb
from harness.commands.output import out, print_json, print_text_table


@verb("harness efficiency --store outputs/results.duckdb")
def efficiency(cells: CellFilter, as_json: JsonOption = False) -> None:
    """Print time, memory and multiplications of every way to run a method, next to the unmodified network.

    Measures nothing; `harness run --suite efficiency` does.
    """
    from results.reports.efficiency import tables, ways, ways_json

    rows = ways(cells.open(), **cells.filters)
    if as_json:
        return print_json(ways_json(rows))
    for table in tables(rows):
        print_text_table(table)
    if not rows:
        out("This store has no timings; run `harness run --suite efficiency` first.")
