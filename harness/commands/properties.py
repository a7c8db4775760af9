"""``harness properties``: check the claimed properties of methods (the paper's Table 1) against measurements."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.commands.options import CellFilter, JsonOption, verb
from harness.commands.output import out, print_json, print_table

if TYPE_CHECKING:
    from results.reports.properties import ClaimVerdict


@verb("harness properties --store outputs/results.duckdb")
def properties(cells: CellFilter, as_json: JsonOption = False) -> None:
    """Check the properties of methods: stable, training-free, explicit, lossless, unsupervised.

    Prints the measured value of each property next to the claim of the method and the entry of the paper's Table 1,
    with the evidence.
    """
    from results.reports.properties import PROPERTIES, properties_json
    from results.reports.properties import properties as properties_of

    measured = properties_of(cells.open(), **cells.filters)
    if as_json:
        return print_json(properties_json(measured))
    for board in dict.fromkeys((row.backbone, row.site, row.evaluation_fingerprint) for row in measured):
        rows = [row for row in measured if (row.backbone, row.site, row.evaluation_fingerprint) == board]
        out(f"{board[0]} · {board[1]}")
        print_table(
            [
                {
                    "method": row.label,
                    **{name.replace("_", "-"): _verdict_text(row.verdicts[name]) for name in PROPERTIES},
                }
                for row in rows
            ]
        )
        out(
            "measured (claimed by the method, printed in the paper's Table 1); ! measured against its own claim, "
            "# against the paper's table\n"
        )
        against = [(row, name) for row in rows for name in PROPERTIES if row.verdicts[name].contradicts_published]
        for row, name in against:
            verdict, word = row.verdicts[name], name.replace("_", "-")
            printed = "yes" if verdict.published else "no"
            out(f"{row.label}: the paper's table says {word}: {printed}; here {verdict.verdict}: {verdict.evidence}.")
        if against:
            out("")
        for row in rows:
            out(f"{row.label}:")
            for name in PROPERTIES:
                out(f"  {name.replace('_', '-')}: {row.verdicts[name].verdict}: {row.verdicts[name].evidence}")
        out("")
    if not measured:
        out("No finished cell in this store matches.")


def _verdict_text(verdict: ClaimVerdict) -> str:
    words = {True: "yes", False: "no", None: "-"}
    marks = ("!" if verdict.contradicts_claim else "") + ("#" if verdict.contradicts_published else "")
    return f"{verdict.verdict} ({words[verdict.claimed]}, {words[verdict.published]}) {marks}".rstrip()
