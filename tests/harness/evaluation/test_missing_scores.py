"""Metrics without a score in the frame of `harness.evaluate`: named, with the reason."""

from __future__ import annotations

import pytest
from evaluations import METHOD, Evaluate, Rotation
from torch import Tensor

pytestmark = pytest.mark.run

ASKED = ["r2", "l0", "max_collinearity", "effective_rank"]


class Bent(Rotation):
    """Object whose decoder is not linear, so that it has no dictionary."""

    def decode(self, codes: Tensor) -> Tensor:
        return super().decode(codes).tanh()


def test_metrics_that_are_left_out_are_named(
    evaluate: Evaluate, width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = evaluate({"bent": Bent(width), "plain": Rotation(width)}, metrics=ASKED, progress=True)
    printed = " ".join(capsys.readouterr().out.split())
    assert set(frame[frame["label"] == "plain"]["metric"]) >= set(ASKED)
    assert set(frame[frame["label"] == "bent"]["metric"]) & set(ASKED) == {"r2", "l0"}
    assert "bent: no score of max_collinearity, effective_rank." in printed
    assert "its decoder is not linear" in printed and "plain: no score" not in printed
    notes = frame.attrs["notes"]
    assert set(notes) == set(frame["cell_id"])
    [bent] = frame[frame["label"] == "bent"]["cell_id"].unique()
    assert any("Not measured: max_collinearity, effective_rank." in note for note in notes[bent])
    again = evaluate({"bent": Bent(width)}, metrics=ASKED)
    assert again.attrs["notes"] == {bent: notes[bent]}


def test_nothing_is_printed_without_progress(
    evaluate: Evaluate, width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = evaluate([METHOD, Bent(width)], metrics=ASKED)
    assert capsys.readouterr().out == ""
    assert sum("Not measured" in note for notes in frame.attrs["notes"].values() for note in notes) == 1
