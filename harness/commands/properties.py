"""``harness properties``: check the claimed properties of methods (the paper's Table 1) against measurements."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.commands.options import CellFilter, JsonOption, verb
from harness.commands.output import out, print_json, print_table

if TYPE_CHECKING:
    from results.reports.properties import ClaimVerdict, MethodProperties


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
    boards: dict[tuple[str, str, str | None], list[MethodProperties]] = {}
    for row in measured:
        boards.setdefault((row.backbone, row.site, row.evaluation_fingerprint), []).append(row)
    titles = {name: name.replace("_", "-") for name in PROPERTIES}
    for (backbone, site, _), rows in boards.items():
        out(f"{backbone} · {site}")
        verdicts = [{titles[name]: _verdict_text(row.verdicts[name]) for name in PROPERTIES} for row in rows]
        print_table([{"method": row.label, **texts} for row, texts in zip(rows, verdicts, strict=True)])
        out(
            "measured (claimed by the method, printed in the paper's Table 1); ! measured against its own claim, "
            "# against the paper's table\n"
        )
        against = [(row, name) for row in rows for name in PROPERTIES if row.verdicts[name].contradicts_published]
        for row, name in against:
            verdict, title = row.verdicts[name], titles[name]
            printed = "yes" if verdict.published else "no"
            out(f"{row.label}: the paper's table says {title}: {printed}; here {verdict.verdict}: {verdict.evidence}.")
        if against:
            out("")
        for row in rows:
            out(f"{row.label}:")
            for name in PROPERTIES:
                out(f"  {titles[name]}: {row.verdicts[name].verdict}: {row.verdicts[name].evidence}")
        out("")
    if not measured:
        out("No finished cell in this store matches.")


def _verdict_text(verdict: ClaimVerdict) -> str:
    words = {True: "yes", False: "no", None: "-"}
    marks = ("!" if verdict.contradicts_claim else "") + ("#" if verdict.contradicts_published else "")
    return f"{verdict.verdict} ({words[verdict.claimed]}, {words[verdict.published]}) {marks}".rstrip()
