"""``harness properties``: the paper's Table 1, measured."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.commands.options import (
    DEFAULT_STORE,
    JsonOption,
    StoreOption,
    out,
    print_json,
    print_table,
    require_known,
)


def register(app: typer.Typer) -> None:
    app.command("properties", epilog="Example: harness properties --store outputs/results.duckdb")(properties)


def properties(
    store: StoreOption = DEFAULT_STORE,
    backbone: Annotated[str | None, typer.Option(help="Only this backbone.")] = None,
    site: Annotated[str | None, typer.Option(help="Only this site.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print what was measured of each method: stable, training-free, explicit, lossless, unsupervised.

    Each verdict with what the method claims, what the paper's table says, and the evidence.
    """
    from results.reports.properties import PROPERTIES, Verdict, properties_json
    from results.reports.properties import properties as properties_of
    from results.store import open_store

    opened = open_store(store)
    require_known(opened, backbone=backbone, site=site)
    found = properties_of(opened, backbone=backbone, site=site)
    if as_json:
        return print_json(properties_json(found))

    def shown(verdict: Verdict) -> str:
        said = {True: "yes", False: "no", None: "-"}
        marks = ("!" if verdict.contradicts_claim else "") + ("#" if verdict.contradicts_published else "")
        return f"{verdict.verdict} ({said[verdict.claimed]}, {said[verdict.published]}) {marks}".rstrip()

    for place in dict.fromkeys((row.backbone, row.site, row.evaluation_fingerprint) for row in found):
        rows = [row for row in found if (row.backbone, row.site, row.evaluation_fingerprint) == place]
        out(f"{place[0]} · {place[1]}")
        print_table(
            [
                {
                    "method": row.label,
                    **{name.replace("_", "-"): shown(row.verdicts[name]) for name in PROPERTIES},
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
    if not found:
        out("No finished cell in this store matches.")
