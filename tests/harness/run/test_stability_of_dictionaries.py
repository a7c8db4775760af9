"""Stability of planted dictionaries: closed forms over full decoders and over alive units, and earlier versions."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

import methods
from harness.cli import app
from harness.metrics import matched_cosine
from harness.run import unit_matching
from harness.run.stability import measure
from harness.run.unit_matching import Shape, random_similarity
from methods.identity import Identity
from results import leaderboard, open_store
from results.boards.columns import is_detail
from results.reports.properties import properties
from results.store.group_scores import GroupScoreRecord, record_group_scores
from results.store.records import CellRecord

pytestmark = pytest.mark.run


class Fixed(Identity):
    """A method whose dictionary a test chooses."""

    def __init__(self, atoms: Tensor, parents: Tensor | None) -> None:
        super().__init__()
        self.chosen = methods.base.Dictionary(atoms, parents, "writer")
        self.width = torch.tensor(len(atoms))

    def dictionary(self) -> methods.base.Dictionary:
        return self.chosen


def both_measured(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dictionaries: list[tuple[Tensor, Tensor | None]],
    alive: list[list[bool]] | None = None,
) -> tuple[GroupScoreRecord, GroupScoreRecord]:
    """Stability of cells with these dictionaries, over all units and over the alive ones."""
    store = open_store(tmp_path / "r.duckdb", read_only=False)
    for seed, (atoms, _) in enumerate(dictionaries):
        is_alive = alive[seed] if alive else [True] * len(atoms)
        store.record(
            CellRecord(
                cell_id=f"c{seed}",
                status="finished",
                backbone="b",
                site="s",
                method="fixed",
                token_seed=1,
                init_seed=seed,
                artifact=f"artifacts/{seed}",
            ),
            units=pd.DataFrame({"unit": range(len(atoms)), "alive": is_alive}),
        )
    monkeypatch.setattr(unit_matching.methods, "load", lambda path: Fixed(*dictionaries[int(Path(path).name)]))
    every, of_alive = measure(store).records
    assert (every.metric, every.version) == ("stability", 2)
    assert (of_alive.metric, of_alive.version) == ("stability_alive", 1)
    return every, of_alive


def measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dictionaries: list[tuple[Tensor, Tensor | None]]
) -> GroupScoreRecord:
    return both_measured(tmp_path, monkeypatch, dictionaries)[0]


def test_three_against_two_perfect_atoms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    d, zeros = torch.eye(3), torch.zeros(3, dtype=torch.int64)
    record = measured(tmp_path, monkeypatch, [(d, zeros), (d[:2], zeros[:2])])
    assert record.value == pytest.approx(1 - 1 / 3)


@pytest.mark.parametrize("change", ["permuted", "rescaled", "flipped"])
def test_permuted_rescaled_and_flipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    d = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    other = {"permuted": d.flip(0), "rescaled": d * torch.arange(1, 13)[:, None], "flipped": -d}[change]
    record = measured(tmp_path, monkeypatch, [(d, None), (other, None)])
    if change == "flipped":
        # One atom has nothing but its opposite to be matched with.
        single = measured(tmp_path / "one", monkeypatch, [(d[:1], None), (-d[:1], None)])
        assert single.value == pytest.approx(-1) and record.value is not None and record.value < 1
    else:
        assert record.value == pytest.approx(1)


def partly_alive(generator: torch.Generator) -> list[Tensor]:
    """Two runs that agree on 128 concepts; 384 further atoms of each are never active and stay where they began."""
    concepts = torch.nn.functional.normalize(torch.randn(128, 64, generator=generator), dim=1)
    return [
        torch.cat(
            [concepts + 0.2 / 8 * torch.randn(128, 64, generator=generator), torch.randn(384, 64, generator=generator)]
        )
        for _ in range(2)
    ]


def test_128_alive_of_512_are_not_the_full_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The alive units agree (.96), the full decoder does not (.50): 128 of .96 and 384 of the chance level .34."""
    first, second = partly_alive(torch.Generator().manual_seed(0))
    alive = [True] * 128 + [False] * 384
    every, of_alive = both_measured(tmp_path, monkeypatch, [(first, None), (second, None)], [alive, alive])
    assert of_alive.value == pytest.approx(0.960, abs=0.005) and every.value == pytest.approx(0.496, abs=0.01)
    assert of_alive.value == matched_cosine(first[:128], second[:128])
    assert every.value == matched_cosine(first, second)
    silent = random_similarity(Shape(384, 64), Shape(384, 64))
    assert every.value == pytest.approx(0.25 * of_alive.value + 0.75 * silent, abs=0.01)
    assert every.details is not None and of_alive.details is not None
    assert (every.details["atoms"], every.details["silent"], every.details["left_out"]) == (
        [512] * 2,
        [384] * 2,
        [0, 0],
    )
    assert (of_alive.details["atoms"], of_alive.details["left_out"]) == ([128] * 2, [384] * 2)
    [board] = leaderboard(open_store(tmp_path / "r.duckdb"))
    assert {column.key: is_detail(column) for column in board.columns} == {"stability": False, "stability_alive": True}
    [note] = [note for note in board.notes if "stability" in note]
    assert "512 atoms; silent on the evaluation split, but counted (not in stability_alive), per run: 384;" in note
    output = CliRunner().invoke(app, ["stability", "--store", str(tmp_path / "r.duckdb")]).output
    assert "512/512  384/384" in output and "128/128  384/384" in output


def test_a_dictionary_with_surplus_atoms_is_penalised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """4 of 5 atoms match exactly: mean cosine 1 minus 1/5; the alive ones are counted as before."""
    d = torch.eye(5)
    every, of_alive = both_measured(tmp_path, monkeypatch, [(d, None), (d[:4], None)])
    assert (every.value, of_alive.value) == (pytest.approx(0.8), pytest.approx(1))
    assert every.details is not None and every.details["unmatched"] == [1]
    [board] = leaderboard(open_store(tmp_path / "r.duckdb"))
    assert any("without a partner, and penalised, per pair: 1" in note for note in board.notes)


def test_sub_units_of_length_zero_are_left_out_of_a_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two neurons; in the second run, one sub-unit of neuron 1 is zero: (1 + (1 - 1/2)) / 2. One silent unit counts."""
    d, parents = torch.eye(4), torch.tensor([0, 0, 1, 1])
    other = d * torch.tensor([1.0, 1, 1, 0])[:, None]
    alive = [[False, True, True, True], [True] * 4]
    every, of_alive = both_measured(tmp_path, monkeypatch, [(d, parents), (other, parents)], alive)
    assert every.value == pytest.approx((1 + 1 / 2) / 2)
    assert of_alive.value == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert every.details is not None
    assert (every.details["left_out"], every.details["unmatched"]) == ([0, 1], [1])
    [board] = leaderboard(open_store(tmp_path / "r.duckdb"))
    assert any("sub-units of length zero left out of each run: 0 to 1" in note for note in board.notes)


def test_an_earlier_version_is_measured_again_and_never_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = partly_alive(torch.Generator().manual_seed(0))
    alive = [True] * 128 + [False] * 384
    every, of_alive = both_measured(tmp_path, monkeypatch, [(first, None), (second, None)], [alive, alive])
    store = open_store(tmp_path / "r.duckdb", read_only=False)
    with store.writing() as opened:
        opened.execute("DELETE FROM group_scores")
    old = dataclasses.replace(of_alive, metric="stability", details={**(of_alive.details or {}), "unmatched": None})
    record_group_scores(store, [old])
    [board] = leaderboard(store)
    assert [(column.key, column.version) for column in board.columns] == [("stability", 1)]
    assert any("by version 1 of the metric; `harness stability` measures the newest" in note for note in board.notes)
    [row] = properties(store)
    assert row.verdicts["stable"].verdict == "unknown", ".96 over the threshold is of alive units only"
    assert "which leaves silent units out" in row.verdicts["stable"].evidence
    assert len(measure(store).records) == 2, "the score of version 1 is not taken for the current one"
    [board] = leaderboard(store)
    assert {column.key: column.version for column in board.columns} == {"stability": 2, "stability_alive": 1}
    assert board.rows[0].metrics["stability"].mean == every.value
    assert properties(store)[0].verdicts["stable"].verdict == "no"
    output = CliRunner().invoke(app, ["stability", "--store", str(store.path), "--json"]).output
    assert [(row["measure"], row["version"]) for row in json.loads(output)["groups"]] == [
        ("stability", 2),
        ("stability_alive", 1),
    ]


def test_dead_atoms_are_counted_in_one_and_left_out_of_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    d = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(1, 6, generator=torch.Generator().manual_seed(1))
    first = torch.cat([d, torch.zeros(2, 6), noise])
    second = torch.cat([d, -noise, noise * 0])
    every, of_alive = both_measured(
        tmp_path, monkeypatch, [(first, None), (second, None)], [[True] * 6 + [False], [True] * 4 + [False] * 2]
    )
    assert of_alive.value == pytest.approx(1)
    assert of_alive.details is not None and every.details is not None
    assert (of_alive.details["zero"], of_alive.details["silent"]) == ([2, 1], [1, 1])
    assert (of_alive.details["left_out"], of_alive.details["atoms"]) == ([3, 2], [4, 4])
    # 7 against 6 atoms: four at 1, and of the others noise and its negative, each with an atom of length zero, at 0.
    assert every.value == pytest.approx(4 / 6 - 1 / 7)
    assert (every.details["left_out"], every.details["atoms"]) == ([0, 0], [7, 6])


def test_no_atom_left_is_undefined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = measured(tmp_path, monkeypatch, [(torch.zeros(2, 3), None), (torch.eye(3), None)])
    assert record.value is not None and math.isnan(record.value)
    [board] = leaderboard(open_store(tmp_path / "r.duckdb"))
    assert board.rows[0].undefined == {"stability": 1, "stability_alive": 1}
