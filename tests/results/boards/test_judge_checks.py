"""Verdicts on judges, and the agreement of a panel in words."""

from __future__ import annotations

from typing import Any

import pytest

from results.app.panels import judge_names, panel_title
from results.boards.judge_checks import (
    ABOVE_CHANCE,
    AT_CHANCE,
    BIASED,
    INVALID,
    SOUND,
    UNKNOWN,
    agreement_sentence,
    judge_verdict,
)

HEALTHY = {
    "judge": "vllm/model#1",
    "n": 200,
    "n_swaps": 100,
    "invalid_rate": 0.01,
    "swap_consistency": 0.9,
    "position_bias": 0.04,
    "agreement": 0.8,
}


@pytest.mark.parametrize(
    ("changes", "verdict", "words"),
    [
        ({}, SOUND, "90 % of 100 pairs, without a preferred position; it agrees with 80 %"),
        ({"swap_consistency": 0.55}, AT_CHANCE, "55 % of 100 pairs; random answers, for 50 %"),
        ({"swap_consistency": 0.3, "position_bias": 0.6}, BIASED, "the first grid in 80 %"),
        ({"swap_consistency": 0.3, "position_bias": -0.6}, BIASED, "the second grid in 80 %"),
        # A coin of few answers looks biased now and then.
        ({"n": 8, "n_swaps": 4, "swap_consistency": 0.5, "position_bias": 0.5}, AT_CHANCE, "of 4 pairs"),
        ({"invalid_rate": 0.4}, INVALID, "40 % of its 200 answers are invalid"),
        ({"n": 0}, UNKNOWN, "not answered yet"),
        ({"swap_consistency": "NaN"}, UNKNOWN, "no pair in both orders"),
        ({"n_swaps": None, "swap_consistency": 0.58}, AT_CHANCE, "of 100 pairs"),
        ({"judge": "proxy/one#1", "swap_consistency": 1.0}, ABOVE_CHANCE, "agrees with 80 % [71, 87]"),
        ({"judge": "proxy/one#1", "agreement": 0.55}, AT_CHANCE, "not more than random answers (50 %)"),
        ({"judge": "proxy/one#1", "agreement": "NaN"}, UNKNOWN, "no other judge"),
    ],
)
def test_each_judge_has_a_verdict_and_a_reason(changes: dict[str, Any], verdict: str, words: str) -> None:
    content = judge_verdict(HEALTHY | changes)
    assert content.verdict == verdict and words in content.reason


@pytest.mark.parametrize("value", [None, "text", True, -3, 2.0, 1e300, [1], {"a": 1}])
def test_strange_values_of_a_store_raise_nothing(value: object) -> None:
    for name in HEALTHY:
        judge_verdict(HEALTHY | {name: value})
    judge_verdict({})


@pytest.mark.parametrize(
    ("alpha", "n_judges", "words"),
    [
        (0.02, 3, "no more than by chance"),
        (0.22, 3, "little more than by chance: their win rates are weak evidence (alpha 0.22)"),
        (0.5, 3, "moderately"),
        (0.7, 3, "tentative"),
        (0.9, 3, "The 3 judges agree well (alpha 0.90)"),
        (None, 3, "unknown"),
        (float("nan"), 3, "unknown"),
        (0.9, 1, "A single judge"),
        (None, 0, "Nobody has answered yet"),
    ],
)
def test_the_agreement_of_a_panel_is_a_sentence(alpha: float | None, n_judges: int, words: str) -> None:
    assert words in agreement_sentence(alpha, n_judges)


def test_a_panel_is_named_in_words() -> None:
    titles = {"dinov2_small": "DINOv2 ViT-S/14"}
    panel = "proxy:dinov2_small+colour_texture+gradients"
    assert panel_title(panel, titles) == "proxy panel of DINOv2 ViT-S/14, colour/texture and gradients"
    assert panel_title("people") == "people"
    assert panel_title("vllm:org/some_model") == "vllm panel of org/some_model"
    assert judge_names(["proxy/dinov2_small#1", "vllm/org/some_model#2"], titles) == [
        "DINOv2 ViT-S/14",
        "org/some_model",
    ]
    assert judge_names(["proxy/one#1", "proxy/one#2", "text"]) == ["proxy/one#1", "proxy/one#2", "text"]


def test_a_person_is_no_thing() -> None:
    health = {"n": 40, "n_swaps": 20, "invalid_rate": 0.0, "swap_consistency": 1.0, "position_bias": 0.0}
    person = judge_verdict({**health, "judge": "people/anna#1", "agreement": 0.75})
    assert person.verdict == SOUND and person.reason == (
        "This person chooses the same grid in both orders for 100 % of 20 pairs, without a preferred position, and "
        "agrees with 75 % of the other judges' votes (chance is 50 %)."
    )
    often = judge_verdict({**health, "judge": "people/anna#1", "invalid_rate": 0.5})
    assert often.reason == "50 % of their 40 answers are invalid."
    biased = judge_verdict({**health, "judge": "people/anna#1", "position_bias": 1.0, "swap_consistency": 0.0})
    assert biased.reason.startswith("This person chooses the first grid in 100 % of their answers, and the same one")
    assert judge_verdict({"n": 0, "judge": "people/ben#1"}).reason == "This person has not answered yet."
    assert judge_verdict({**health, "judge": "vllm/m#1", "n_swaps": 1}).reason.startswith("It chooses the same")


@pytest.mark.parametrize(("n_pairs", "verdict"), [(0, UNKNOWN), (1, UNKNOWN), (3, UNKNOWN), (4, SOUND)])
def test_a_few_pairs_do_not_tell_a_judge_from_chance(n_pairs: int, verdict: str) -> None:
    health = {"n": 40, "n_swaps": n_pairs, "invalid_rate": 0.0, "swap_consistency": 1.0, "position_bias": 0.0}
    judged = judge_verdict({**health, "judge": "vllm/m#1"})
    assert judged.verdict == verdict
    assert ("too few to tell" in judged.reason) == (n_pairs in (1, 3))
    assert ("100 % of 1 pair," in judged.reason) == (n_pairs == 1)
