"""Parts of a fit, and the cell that joins them, in one process: the cell of a fit as a whole, to the bit."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from small_runs import suite_of

from harness.cells.divided_fit import DividedFit, PartFit, fit_part, items_of
from harness.cells.fit_cost import FIT_MEMORY
from harness.cells.fit_evidence import GRADIENTS, LABELS
from harness.cells.inputs import Inputs, open_inputs
from harness.cells.plan import Cell, cells_of, prepare
from harness.cells.run_cell import CellContext, CellResult, run_cell, work_dir
from harness.errors import UserError
from methods import METHODS, numerics
from methods.base import MethodConfig, Prerequisite
from methods.elude.method import ELUDe
from methods.python_object.given_fit import given_fit
from results.store.records import DEVICE_UNITS

pytestmark = pytest.mark.run


class Setting(NamedTuple):
    cell: Cell
    inputs: Inputs
    whole: CellResult
    folder: Path
    """of the cell that was computed as a whole"""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with numerics.threads(1):
        yield


@pytest.fixture(scope="module")
def setting(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Setting:
    folder = tmp_path_factory.mktemp("whole")
    suite = suite_of(photo_folder, "elude", seeds={"tokens": [1]})
    prepared = prepare(suite, device="cpu")
    [cell] = cells_of(suite, prepared)
    inputs = open_inputs(suite, prepared[0], [cell.plan], folder / "cache")
    whole = run_cell(cell, inputs, CellContext("run", "s", "cpu", folder))
    assert whole.finished, whole.headline
    return Setting(cell, inputs, whole, folder)


def part_of(setting: Setting, items: range, folder: Path) -> PartFit:
    tokens = setting.inputs.tokens[setting.cell.plan]
    return fit_part(
        setting.cell, tokens, items, device="cpu", progress=lambda *_: None,
        work_dir=work_dir(folder, setting.cell.cell_id),
    )  # fmt: skip


def values(result: CellResult) -> dict[Any, Any]:
    return {(score.metric, str(score.params)): score.value for score in result.scores if score.unit not in DEVICE_UNITS}


@pytest.mark.parametrize("lost", [False, True])
def test_parts_and_their_cell_give_the_bits_of_the_whole(setting: Setting, tmp_path: Path, lost: bool) -> None:
    n = items_of(setting.cell)
    assert n == setting.cell.prepared.site.d_out
    parts = [part_of(setting, items, tmp_path) for items in (range(n // 3, n), range(n // 3))]
    assert [len(part.files) for part in parts] == [1, 2] and all(part.seconds > 0 for part in parts)
    if lost:
        (work_dir(tmp_path, setting.cell.cell_id) / parts[1].files[0]).unlink()
    divided = DividedFit.of(parts, resumed=False)
    context = CellContext("run", "s", "cpu", tmp_path)
    result = run_cell(setting.cell, setting.inputs, context, divided=divided)
    assert result.finished, result.headline
    artifacts = [
        folder / str(one.record.artifact) for folder, one in ((tmp_path, result), (setting.folder, setting.whole))
    ]
    assert artifacts[0].read_bytes() == artifacts[1].read_bytes()
    assert values(result) == values(setting.whole)
    assert (result.record.cell_id, result.record.fit_id) == (setting.whole.record.cell_id, setting.whole.record.fit_id)


def test_the_cost_is_that_of_all_parts(setting: Setting, tmp_path: Path) -> None:
    n = items_of(setting.cell)
    parts = [part_of(setting, items, tmp_path) for items in (range(n // 2), range(n // 2, n))]
    shares = [part._replace(seconds=1000.0) for part in parts]
    context = CellContext("run", "s", "cpu", tmp_path)
    result = run_cell(setting.cell, setting.inputs, context, divided=DividedFit.of(shares, resumed=False))
    assert result.record.fit_seconds is not None and result.record.seconds is not None
    assert 2000 < result.record.fit_seconds < result.fit_step_seconds < result.record.seconds < 2100
    scores = {score.metric: score for score in result.scores}
    assert scores[GRADIENTS].value == 0 and (scores[LABELS].details or {})["label_reads"] == 0
    assert FIT_MEMORY in scores
    assert any("divided into 2 parts" in note for note in result.record.notes)
    resumed = run_cell(setting.cell, setting.inputs, context, divided=DividedFit.of(parts, resumed=True))
    assert resumed.record.fit_seconds is None and any("resumed" in note for note in resumed.record.notes)


def test_a_part_changes_nothing_in_the_process(setting: Setting, tmp_path: Path) -> None:
    states = [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()]  # noqa: NPY002
    part_of(setting, range(3), tmp_path)
    assert [random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()] == states  # noqa: NPY002


def test_an_error_of_a_part_is_raised(setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any, *arguments: Any, **options: Any) -> None:
        raise RuntimeError("no part of it")

    monkeypatch.setattr(ELUDe, "fit_part", broken)
    with pytest.raises(RuntimeError, match="no part of it"):
        part_of(setting, range(3), tmp_path)


def test_other_fits_do_not_divide(setting: Setting, photo_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others = suite_of(photo_folder, "identity", "topk_sae", seeds={"tokens": [1]})
    assert [items_of(cell) for cell in cells_of(others, prepare(others, device="cpu"))] == [1, 1]
    with monkeypatch.context() as patch:
        needed = Prerequisite(METHODS.get("identity"), MethodConfig())
        patch.setattr(ELUDe, "prerequisite", classmethod(lambda cls, config: needed))
        assert items_of(setting.cell) == 1, "each part would need the fit of the other method"
    tokens = setting.inputs.tokens[setting.cell.plan]
    fitted = ELUDe(setting.cell.config).fit(tokens, setting.cell.prepared.site)
    assert items_of(dataclasses.replace(setting.cell, method=given_fit(fitted))) == 1
    for answer, items in ((0, 1), (-3, 1), (7, 7)):
        monkeypatch.setattr(ELUDe, "fit_items", classmethod(lambda cls, config, site, n=answer: n))
        assert items_of(setting.cell) == items
    monkeypatch.setattr(ELUDe, "fit_items", classmethod(lambda cls, config, site: 2.5))
    with pytest.raises(UserError, match=r"elude.fit_items returns 2.5; it must be a whole number"):
        items_of(setting.cell)
