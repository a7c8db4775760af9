"""One pass over the probing images per backbone: for all layers, token seeds, sweeps, parts and the probe."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from decode_counts import count_decodes
from small_runs import suite_of

from harness import datasets
from harness.activations import center_crops
from harness.activations.probing_plan import ProbingPlan
from harness.cells import plan as planning
from harness.cells.inputs import AheadTokens
from harness.cells.plan import cells_of, prepare
from harness.run import run
from harness.run.parts import run_suite
from harness.run.tokens_ahead import TokensAhead
from harness.suites import Suite
from results import open_store

pytestmark = pytest.mark.run

SITES = ("blocks.0.mlp.fc2", "blocks.1.mlp.fc2", "blocks.2.mlp.fc2")
SWEPT = {"name": "vanilla_sae", "select": True, "config": {"expansion_factor": 1, "epochs": 1, "batch_size": 64}}


def part(folder: Path, name: str, *sites: str, methods: tuple[dict[str, Any], ...] = (), **changes: Any) -> Suite:
    values = {
        "name": name,
        "probing": {"crops": 0, "tokens_per_image": 4},
        "evaluation": {"top_images": 4, "batch_size": 8, "metrics": ["l0", "r2"]},
        "sweep": {"grid": "few"},
        "targets": [{"backbone": "tiny_vit", "site": site, "head": "probe"} for site in sites],
        "methods": [{"name": "identity"}, *methods],
        **changes,
    }
    return suite_of(folder, **values)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Number of times that each image is decoded, without stored crops: the number of passes that it was in."""
    counts = count_decodes(monkeypatch)
    monkeypatch.setattr(planning, "require_readable", lambda images: None)
    monkeypatch.setattr(center_crops, "SIZE_LIMIT", 0)
    return counts


def probing_images(folder: Path) -> set[str]:
    probing, _ = datasets.load(f"folder:{folder}").split(evaluation=18)
    return {record.name for record in probing.records}


def test_a_suite_of_parts_with_a_sweep_makes_one_pass(photo_folder: Path, tmp_path: Path, opened: Counter[str]) -> None:
    parts = (
        part(photo_folder, "first", SITES[1], methods=(SWEPT,)),
        part(photo_folder, "second", SITES[0], SITES[2], seeds={"tokens": [1, 7]}),
    )
    whole = parts[0].model_copy(update={"name": "whole", "parts": parts, "targets": (), "methods": ()})
    total = run_suite(whole, tmp_path / "r.duckdb")
    assert (total.failed, total.stopped) == (0, [])
    # 2 swept, of which one is kept; 2 methods with 2 seeds; 1 method at 2 layers with 2 seeds.
    assert total.finished == 2 + 3 + 4
    assert {opened[name] for name in probing_images(photo_folder)} == {1}
    assert len(list((tmp_path / "cache" / "tokens").iterdir())) == 3 + 1 + 1 + 1
    assert not any((tmp_path / "cache" / "features").iterdir())


def test_each_part_alone_has_the_same_tokens(photo_folder: Path, tmp_path: Path) -> None:
    parts = (part(photo_folder, "first", SITES[1]), part(photo_folder, "second", SITES[0], SITES[2]))
    whole = parts[0].model_copy(update={"name": "whole", "parts": parts, "targets": (), "methods": ()})
    run_suite(whole, tmp_path / "together" / "r.duckdb")
    for site in SITES:
        run(part(photo_folder, "alone", site), tmp_path / "alone" / "r.duckdb")
    together, alone = (
        {
            file.relative_to(tmp_path / name): file.read_bytes()
            for file in (tmp_path / name / "cache").glob("tokens/*/*")
        }
        for name in ("together", "alone")
    )
    assert together and {path: together[path] for path in alone} == alone


def test_what_is_ahead_of_a_target(photo_folder: Path, tmp_path: Path) -> None:
    suite = part(photo_folder, "now", SITES[0], SITES[1])
    later = (
        part(photo_folder, "same", SITES[2], seeds={"tokens": [2, 3]}),
        part(photo_folder, "other images", SITES[2], data={"dataset": f"folder:{photo_folder}", "evaluation": 12}),
        part(photo_folder, "no such layer", "blocks.9.mlp.fc2"),
        part(photo_folder, "other backbone", "mix", targets=[{"backbone": "tiny_cnn", "site": "mix"}]),
        part(photo_folder, "again", SITES[0], seeds={"tokens": [5]}),
    )
    prepared = prepare(suite, device="cpu")
    cells = cells_of(suite, prepared)
    store = open_store(tmp_path / "r.duckdb", read_only=False)
    with store.writing():
        pass
    plans = {seed: ProbingPlan(0, 4, "float32", seed) for seed in (1, 2, 3, 5)}
    ahead = TokensAhead(suite, later, prepared, store)
    assert set(ahead.of(prepared[0], cells)) == {
        AheadTokens(SITES[1], (plans[1], plans[2])),
        AheadTokens(SITES[2], (plans[2], plans[3])),
        AheadTokens(SITES[0], (plans[5],)),
    }
    # The second target is finished: only the later suites are left.
    assert {each.site for each in ahead.of(prepared[0], [c for c in cells if c.prepared is prepared[0]])} == {
        SITES[0],
        SITES[2],
    }


def test_tokens_of_finished_cells_are_not_made_ahead(photo_folder: Path, tmp_path: Path) -> None:
    later = part(photo_folder, "later", SITES[2])
    run(part(photo_folder, "later", SITES[2], seeds={"tokens": [2]}), tmp_path / "r.duckdb")
    suite = part(photo_folder, "now", SITES[0])
    prepared = prepare(suite, device="cpu")
    ahead = TokensAhead(suite, [later], prepared, open_store(tmp_path / "r.duckdb"))
    assert ahead.of(prepared[0], ()) == (AheadTokens(SITES[2], (ProbingPlan(0, 4, "float32", 1),)),)
