"""Share of the output that a decoder explains without units, and its note on a cell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from plugins import clean_registries
from small_runs import suite_of
from torch import Tensor

import methods
from harness.cells.input_share import InputShare
from harness.run import run
from methods.base import Dictionary
from methods.identity import Identity
from results import open_store


def drawn(seed: int) -> Tensor:
    return torch.randn(300, 6, generator=torch.Generator().manual_seed(seed)) + 3


@pytest.mark.parametrize(
    ("noise", "offset", "expected"), [(0.0, 0.0, 1.0), (0.0, 5.0, 1.0), (0.5, 0.0, 0.75), (2.0, 0.0, -3.0)]
)
def test_the_share_is_that_of_the_variance(noise: float, offset: float, expected: float) -> None:
    """A decoder that gives the output plus noise of a known variance, and a constant, in batches of any size."""
    a, error = drawn(1), drawn(2)
    share = InputShare()
    for rows in torch.arange(300).split(77):
        share.update(a[rows], (a + noise * error + offset)[rows])
    assert share.compute() == pytest.approx(expected, abs=0.1 * noise**2 + 1e-9)
    assert bool(share.note()) == (expected >= 0.5)


def test_a_decoder_that_is_not_finite_without_units_has_no_share() -> None:
    share = InputShare()
    share.update(drawn(1), torch.full((300, 6), torch.nan))
    share.update(drawn(1), drawn(1))
    assert share.note() == ""


class Undeclared(Identity):
    """Method that would return its target if it were given it."""

    spec = Identity.spec._replace(name="undeclared", lossless=False)

    def decode(self, codes: Tensor, x: Tensor | None = None) -> Tensor:
        return codes / 2 if x is None else x.clone()

    def dictionary(self) -> Dictionary | None:
        return None


class Declared(Undeclared):
    """The same method with the declaration."""

    spec = Undeclared.spec._replace(name="declared")
    decode_reads_input = True  # type: ignore[assignment]


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    with clean_registries():
        methods.register(Undeclared)
        methods.register(Declared)
        yield


@pytest.mark.run
def test_a_cell_notes_what_is_explained_without_units(photo_folder: Path, tmp_path: Path) -> None:
    metrics = {"top_images": 6, "batch_size": 9, "metrics": ["r2"]}
    suite = suite_of(photo_folder, "undeclared", "declared", evaluation=metrics, seeds={"tokens": [1]})
    store = tmp_path / "r.duckdb"
    assert (summary := run(suite, store)).failed == 0, summary
    opened = open_store(store)
    cells = opened.cells().set_index("method")
    r2 = opened.scores().set_index(["method", "metric"])["value"]
    assert r2["declared", "r2"] == 1 and r2["undeclared", "r2"] < 0.8
    [note] = [note for note in cells.loc["declared", "notes"] if "without any unit" in note]
    assert note.startswith("decode explains 100.0% of the variance of the layer's output")
    assert not any("without any unit" in note for note in cells.loc["undeclared", "notes"])
