"""Groups of cells that need one fit: claimed together, and computed one after the other."""

from __future__ import annotations

from pathlib import Path

from small_runs import suite_of

from harness.cells.plan import Cell, cells_of, prepare


def test_a_prerequisite_and_the_cells_that_need_it_are_one_group(photo_folder: Path) -> None:
    elude = {"name": "elude", "config": {"top_k": 200, "min_cluster_size": 15}}
    split = {"name": "random_split", "config": {"counts_of": elude}}
    suite = suite_of(
        photo_folder,
        methods=[elude, split, {"name": "topk_sae"}, {"name": "identity"}],
        seeds={"tokens": [1, 2], "init": [1, 2]},
    )
    cells = cells_of(suite, prepare(suite, device="cpu"))
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.fit_group, []).append(cell)
    names = sorted(sorted(cell.method.spec.name for cell in group) for group in groups.values())
    shared = [name for name in names if len(name) > 1]
    assert len(shared) == 2, "one per token seed, for all init seeds"
    assert all(group.count("random_split") == 2 and group.count("elude") >= 1 for group in shared)
    assert names.count(["topk_sae"]) == 4 and names.count(["identity"]) == 2
    [group] = [group for group in groups.values() if len(group) > 1 and group[0].plan.seed == 1]
    parents = [cell for cell in group if cell.method.spec.name == "elude"]
    splits = [cell for cell in group if cell.method.spec.name == "random_split"]
    assert splits[0].needs_fit_of(parents[0]) and not parents[0].needs_fit_of(splits[0])
    assert not splits[0].needs_fit_of(splits[1]) and splits[0].needs_fit_of(splits[0])
