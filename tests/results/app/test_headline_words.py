"""The headline in words: who is ahead, by how much, and what is said if nobody is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from results.app.headline_words import lead_sentence, reference_sentence, side_sentence
from results.comparison.headline import BACKBONE_ROLE, CONTROL


def difference(metric: str, a: float, b: float, ends: tuple[float, float] | None, n_seeds: int = 3) -> Any:
    low, high = ends or (None, None)
    column = SimpleNamespace(key=metric, metric=metric, unit="fraction", direction="higher", digits=2)
    column.arrow, column.panel = " ↑", None
    return SimpleNamespace(column=column, a=a, b=b, difference=a - b, low=low, high=high, n_seeds=n_seeds)


def contrast(score: Any, role: str = "best SAE", others: tuple[Any, ...] = (), other: str = "TopK SAE") -> Any:
    sides = {"a": SimpleNamespace(title_with_flags="ELUDe", is_lossless=True)}
    sides["b"] = SimpleNamespace(title_with_flags=other, is_lossless=False)
    for side in sides.values():
        side.title = side.title_with_flags
    comparison = SimpleNamespace(**sides, differences=(score, *others))
    return SimpleNamespace(role=role, comparison=comparison, score=score)


@pytest.mark.parametrize(
    ("score", "sentence"),
    [
        (
            difference("ms_score", 0.6, 0.5, (0.08, 0.12)),
            "ELUDe is 10.0 points of MS score ahead of the best SAE, TopK SAE (95 % interval 8.0 to 12.0).",
        ),
        (
            difference("ms_score", 0.5, 0.6, (-0.12, -0.08)),
            "ELUDe is 10.0 points of MS score behind the best SAE, TopK SAE (95 % interval −12.0 to −8.0).",
        ),
        (
            difference("ms_score", 0.5, 0.51, (-0.03, 0.01)),
            "ELUDe and the best SAE, TopK SAE, cannot be told apart in MS score: −1.0 points, "
            "95 % interval −3.0 to 1.0.",
        ),
        (
            difference("ms_score", 0.6, 0.5, None, n_seeds=1),
            "ELUDe has +10.0 points of MS score against the best SAE, TopK SAE (one pair of seeds, so no interval).",
        ),
    ],
)
def test_the_sentence_says_who_is_ahead_and_how_sure_that_is(score: Any, sentence: str) -> None:
    assert lead_sentence(contrast(score)) == sentence


def test_the_costs_and_the_references_follow() -> None:
    score = difference("ms_score", 0.6, 0.5, (0.08, 0.12))
    faithfulness = (difference("r2", 1.0, 0.9, None), difference("agreement", 1.0, 0.8, None))
    assert side_sentence(contrast(score, others=faithfulness)) == (
        "ELUDe vs TopK SAE: R2 100 (by construction) vs 90.0 % · agreement 100 vs 80.0 %"
    )
    assert side_sentence(contrast(score)) == ""
    references = [
        contrast(score, BACKBONE_ROLE, other="backbone only"),
        contrast(difference("ms_score", 0.6, 0.58, None), CONTROL, other="random split"),
    ]
    assert reference_sentence(references) == (
        "ELUDe against controls: random split +2.0 · backbone only +10.0 [8.0, 12.0] points"
    )
    assert reference_sentence([]) == ""
