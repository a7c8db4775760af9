"""``select = true`` from end to end: the grid is trained, eq. 9 chooses, the choice runs with every token seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.errors import UserError
from harness.run.parts import run_suite
from harness.run.selection import has_selections, selection_scores, sweep_suites, with_selections
from harness.suites import Suite, parse_suite
from harness.suites.grids import grid
from results import open_store

GRID = grid("vanilla_sae", "few")


def suite_of(folder: Path, **sweep: object) -> Suite:
    return parse_suite(
        {
            "name": "selected",
            "data": {"dataset": f"folder:{folder}", "evaluation": 12},
            "seeds": {"tokens": [42, 1]},
            "evaluation": {"top_images": 4, "metrics": ["r2", "l0", "alive_fraction"]},
            "sweep": {"grid": "few", **sweep},
            "targets": [{"backbone": "tiny_vit"}],
            "methods": [
                {"name": "identity"},
                {
                    "name": "vanilla_sae",
                    "label": "mine",
                    "select": True,
                    "config": {"expansion_factor": 2, "epochs": 2, "batch_size": 32},
                },
            ],
        }
    )


def test_the_sweep_is_run_and_its_choice_takes_the_methods_place(tmp_path: Path, photo_folder: Path) -> None:
    path = tmp_path / "r.duckdb"
    suite = suite_of(photo_folder)
    total = run_suite(suite, path, device="cpu")
    [part], stopped = total.parts, total.stopped
    # Two configurations swept on the first token seed; then the backbone and the choice with both.
    assert (total.finished, total.failed, stopped) == (2 + 4, 0, []) and len(part.cell_ids) == 4
    store = open_store(path)
    cells = store.cells().set_index("cell_id")
    swept = cells[~cells.index.isin(part.cell_ids)].sort_index()
    assert len(swept) == 2 and set(swept["token_seed"]) == {42} and set(swept["label"]) == {"Vanilla SAE"}
    scores = store.scores()
    values = scores.pivot_table(index="cell_id", columns="metric", values="value")
    # The choice by hand: eq. 9 on what the sweep measured.
    order = [next(i for i, c in swept["config"].items() if c["learning_rate"] == p["learning_rate"]) for p in GRID]
    best = int(np.argmax(selection_scores([values.loc[i, "r2"] for i in order], [values.loc[i, "l0"] for i in order])))
    own = cells.loc[part.cell_ids]
    chosen = own[own["method"] == "vanilla_sae"]
    assert sorted(chosen["token_seed"]) == [1, 42] and set(chosen["label"]) == {"mine"}
    assert {config["learning_rate"] for config in chosen["config"]} == {GRID[best]["learning_rate"]}
    assert {config["epochs"] for config in chosen["config"]} == {2}
    # On the first token seed the choice was fitted by the sweep: the cell takes that fit.
    first = chosen[chosen["token_seed"] == 42].iloc[0]
    assert first["fit_id"] == swept.loc[order[best], "fit_id"]
    # Sweep cells measure what eq. 9 needs, table cells what the suite says.
    measured = set(scores[scores["cell_id"] == order[0]]["metric"])
    assert {"r2", "l0"} <= measured and "alive_fraction" not in measured
    assert "alive_fraction" in set(scores[scores["cell_id"] == first.name]["metric"])
    again = run_suite(suite, path, device="cpu")
    assert (again.finished, again.kept) == (0, 6)


def test_without_a_finished_sweep_the_method_is_left_out(tmp_path: Path, photo_folder: Path) -> None:
    suite = suite_of(photo_folder)
    open_store(tmp_path / "r.duckdb", read_only=False)
    left, notes = with_selections(suite, tmp_path / "r.duckdb", [[]])
    assert left is not None and [e.name for e in left.methods_of(left.targets[0])] == ["identity"]
    assert notes == ["mine on tiny_vit is left out: no configuration of its sweep has finished."]


def test_what_is_swept() -> None:
    suite = suite_of(Path("nowhere"))
    [before] = sweep_suites(suite)
    assert before is not None
    assert has_selections(suite) and not has_selections(before) and before.evaluation.metrics == ("l0", "r2")
    assert [entry.config["learning_rate"] for entry in before.targets[0].methods or ()] == [
        point["learning_rate"] for point in GRID
    ]
    assert before.token_seeds_of(before.targets[0]) == (42,)
    with pytest.raises(UserError, match="'full' or 'few'"):
        suite_of(Path("nowhere"), grid="some")
