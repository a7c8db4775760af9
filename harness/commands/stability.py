"""``harness stability``: how alike are the units that a method finds in runs with other seeds?"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from harness.commands.options import (
    DEFAULT_STORE,
    JsonOption,
    PluginOption,
    StoreOption,
    load_plugins,
    out,
    print_json,
    print_table,
    reporting,
    require_known,
)


def register(app: typer.Typer) -> None:
    app.command("stability", epilog="Example: harness stability --store outputs/results.duckdb")(stability)


def stability(
    store: StoreOption = DEFAULT_STORE,
    suite: Annotated[str | None, typer.Option(help="Only cells that were first run for this suite.")] = None,
    backbone: Annotated[str | None, typer.Option(help="Only this backbone.")] = None,
    site: Annotated[str | None, typer.Option(help="Only this site.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Measure what has been measured, too.")] = False,
    plugin: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the stored fits of each method over its seeds; nothing is fitted again.

    A suite's [stability] section, or several seeds, makes the fits that are compared.
    """
    from harness.run.stability import measure
    from results.store import group_scores, open_store

    load_plugins(plugin)
    opened = open_store(store)
    require_known(opened, suite=suite, backbone=backbone, site=site)
    cells = opened.cells(suite=suite, backbone=backbone, site=site)
    opened = open_store(store, read_only=False)
    with reporting(as_json) as reporter:
        found = measure(opened, cell_ids=list(cells["cell_id"]), anew=again, reporter=reporter)
    known = cells.set_index("cell_id")
    rows = [
        _row(row, known.loc[row["cell_ids"][0]])
        for row in group_scores.group_scores(opened).to_dict("records")
        if set(row["cell_ids"]) <= set(known.index)
    ]
    rows.sort(key=lambda row: (row["backbone"], row["site"], row["measure"], -(row["value"] or 0.0)))
    if as_json:
        return print_json({"groups": rows, "problems": found.problems})
    if rows:
        print_table([_shown(row) for row in rows])
        out("\nMean ± sample standard deviation over pairs of runs; chance: random dictionaries of the same shape.")
    else:
        out("No method here has two finished cells that differ in one seed; [stability] in a suite makes them.")
    for problem in found.problems:
        out(f"Not measured: {problem}")


def _row(row: dict[Any, Any], cell: Any) -> dict[str, Any]:
    value = row["value"]
    return {
        "backbone": cell["backbone"],
        "site": cell["site"],
        "method": cell["label"],
        "config_id": row["config_id"],
        "measure": row["metric"],
        "value": None if value != value else value,
        "std": None if row["uncertainty"] != row["uncertainty"] else row["uncertainty"],
        "n_pairs": int(row["n"]),
        "params": row["params"],
        "cell_ids": row["cell_ids"],
        **row["details"],
    }


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    spread = f" ± {row['std']:.4f}" if row["std"] is not None else ""
    return {
        "backbone": row["backbone"],
        "site": row["site"],
        "method": row["method"],
        "measure": row["measure"],
        "value": "undefined" if row["value"] is None else f"{row['value']:.4f}{spread}",
        "pairs": row["n_pairs"],
        "identical": row["identical_pairs"],
        "chance": "" if row["chance"] is None else f"{row['chance']:.4f}",
        "matched": row["matching"],
        "atoms": "/".join(map(str, row["atoms"])),
        "dead": "/".join(map(str, row["left_out"])),
        "on": row["on"],
    }
