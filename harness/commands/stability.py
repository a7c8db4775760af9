"""``harness stability``: measure the similarity of the units of fits with different seeds."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from harness.commands.options import JsonOption, PluginOption, SuiteCellFilter, load_plugins, verb
from harness.commands.output import out, print_json, print_table, reporting, take_in_waiting


@verb("harness stability --store outputs/results.duckdb")
def stability(
    cells: SuiteCellFilter,
    again: Annotated[bool, typer.Option("--again", help="Also repeat measurements that are stored.")] = False,
    plugin: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the stability of methods: compare the stored fits of each method over its seeds.

    Fits nothing. The fits come from a suite with a [stability] section or with several seeds.
    """
    load_plugins(plugin)
    selected = cells.open().cells(**cells.filters)
    from harness.run.stability import measure
    from results.store import group_scores, open_store
    from results.store.records import records_of
    from results.store.stability_versions import without_superseded

    store = open_store(cells.store, read_only=False)
    take_in_waiting(store)
    with reporting(as_json) as reporter:
        outcome = measure(store, cell_ids=list(selected["cell_id"]), anew=again, reporter=reporter)
    by_id = selected.set_index("cell_id")
    rows = [
        _row(row, by_id.loc[row["cell_ids"][0]])
        for row in without_superseded(records_of(group_scores.group_scores(store)))
        if row["cell_ids"] and set(row["cell_ids"]) <= set(by_id.index)
    ]
    rows.sort(key=lambda row: (row["backbone"], row["site"], row["measure"], -(row["value"] or 0.0)))
    if as_json:
        return print_json({"groups": rows, "problems": outcome.problems})
    if rows:
        print_table([_text_row(row) for row in rows])
        out(
            "\nMean ± sample standard deviation over pairs of runs; chance: random dictionaries of the same shape. "
            "Every atom counts: those of silent units too, and atoms without a partner as a penalty (surplus: their "
            "number in all pairs). stability_alive leaves out silent units, atoms of length zero, and the surplus of "
            "whole dictionaries; for the other measures, that value is in --json."
        )
    elif not outcome.problems:
        out("No method here has two finished cells that differ in one seed; [stability] in a suite makes them.")
    for problem in outcome.problems:
        out(f"Not measured: {problem}")


def _row(row: dict[Any, Any], cell: Any) -> dict[str, Any]:
    value = row["value"]
    return {
        "backbone": cell["backbone"],
        "site": cell["site"],
        "method": cell["label"],
        "config_id": row["config_id"],
        "measure": row["metric"],
        "version": int(row["version"]),
        "value": None if value != value else value,
        "std": None if row["uncertainty"] != row["uncertainty"] else row["uncertainty"],
        "n_pairs": row["n"],
        "params": row["params"],
        "cell_ids": row["cell_ids"],
        **dict.fromkeys(("identical_pairs", "chance", "matching", "on")),
        **dict.fromkeys(("atoms", "silent", "left_out"), ()),
        **{key: value for key, value in (row["details"] or {}).items() if value is not None},
    }


def _text_row(row: dict[str, Any]) -> dict[str, Any]:
    from harness.run.stability import VERSIONS

    spread = f" ± {row['std']:.4f}" if row["std"] is not None else ""
    is_current = VERSIONS.get(row["measure"], row["version"]) == row["version"]
    return {
        "backbone": row["backbone"],
        "site": row["site"],
        "method": row["method"],
        "measure": row["measure"] if is_current else f"{row['measure']}@{row['version']}",
        "value": "undefined" if row["value"] is None else f"{row['value']:.4f}{spread}",
        "pairs": row["n_pairs"],
        "identical": row["identical_pairs"],
        "chance": "" if row["chance"] is None else f"{row['chance']:.4f}",
        "matched": row["matching"],
        "atoms": "/".join(map(str, row["atoms"])),
        "silent": "/".join(map(str, row["silent"])),
        "left out": "/".join(map(str, row["left_out"])),
        "surplus": "" if row.get("unmatched") is None else sum(row["unmatched"]),
        "on": row["on"],
    }
