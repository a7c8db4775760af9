"""Panels that know nothing have no ranks and no marks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.stats import judge_health, krippendorff_alpha, n_shared_pairs
from results.boards.panel_at_chance import at_chance


def judge(name: str = "vllm/a", **changes: Any) -> dict[str, Any]:
    return {"judge": name, "n": 200, "n_swaps": 100, "swap_consistency": 0.9, "agreement": 0.8, **changes}


@pytest.mark.parametrize(
    ("panel", "health", "alpha", "words"),
    [
        ("vllm:a+b+c", [judge(), judge(), judge()], 0.6, ""),
        ("vllm:a+b+c", [judge(), judge(), judge(swap_consistency=0.5)], 0.4, ""),
        ("vllm:a+b+c", [judge(), judge(swap_consistency=0.5), judge(swap_consistency=0.55)], 0.4, "only 1 of 3 judges"),
        ("vllm:a", [judge(swap_consistency=0.59)], None, "its only judge does not choose the same grid in both orders"),
        ("vllm:a", [judge(swap_consistency=0.62)], None, ""),
        ("vllm:a", [judge(swap_consistency=0.9, n_swaps=3)], float("nan"), "its only judge does not"),
        ("vllm:a+b+c", [judge(), judge(), judge()], 0.1, "agreement (alpha 0.10 for 100 pairs) is not above"),
        ("vllm:a+b+c", [judge(), judge(n_swaps=2), judge(n_swaps=2)], 0.3, "alpha 0.30 for 2 pairs"),
        ("vllm:a+b+c", [judge(), judge(), judge()], -0.2, "alpha \u22120.20"),
        # Encoders choose the same grid in both orders by construction.
        ("proxy:a+b+c", [judge(swap_consistency=1.0, agreement=0.5)] * 3, 0.0, "votes as the others do"),
        ("proxy:a+b+c", [judge(swap_consistency=1.0, agreement=0.62)] * 3, 0.24, ""),
        # People may be many with few answers each.
        ("people", [judge(n=4, n_swaps=2, swap_consistency=1.0)] * 30, 0.5, ""),
        ("people", [judge(n=4, n_swaps=2, swap_consistency=0.5)] * 30, 0.5, "for 50 % of 60 pairs"),
        ("people", [judge(n=4, n_swaps=2, swap_consistency=1.0)] * 3, 0.5, ""),  # three pairs say nothing
        ("people", [judge(n=6, n_swaps=3, swap_consistency=1.0)], None, "100 % of 3 pairs, too few to tell"),
        (
            "people",
            [judge(n=3, n_swaps=0, swap_consistency="NaN")],
            None,
            "answered in both orders to",
        ),
        ("people", [judge(n=2, n_swaps=0, swap_consistency="NaN")] * 30, 0.1, "alpha 0.10 for 15 pairs"),
        (
            "people",
            [judge(n=2, n_swaps=0, swap_consistency="NaN")] * 30,
            float("nan"),
            "or by two people to",
        ),
        # Nothing is said without measures: of a tournament that is not scored yet, or of an old store.
        ("vllm:a", [], None, ""),
        ("vllm:a", [judge(n=0)], None, ""),
        ("vllm:a", [judge(swap_consistency="NaN")], None, ""),
        ("vllm:a", "text", "text", ""),
    ],
)
def test_which_panels_are_at_chance(panel: str, health: Any, alpha: Any, words: str) -> None:
    reason = at_chance(panel, health, alpha, None)
    assert words in reason and bool(reason) == bool(words)


@pytest.mark.parametrize(
    ("panel", "n_judges", "n_shared", "words"),
    [
        ("people", 40, 60, ""),
        ("people", 40, 8, "alpha 0.50 for 8 pairs"),
        # Full agreement on three pairs would say nothing; their answers to pairs in both orders do.
        ("people", 40, 3, ""),
        ("people", 40, 0, ""),
        ("vllm:a+b+c", 3, 2, "alpha 0.50 for 2 pairs"),
        ("vllm:a+b+c", 3, 60, ""),
    ],
)
def test_the_agreement_counts_for_the_pairs_it_is_computed_from(
    panel: str, n_judges: int, n_shared: int, words: str
) -> None:
    reason = at_chance(panel, [judge(n=20, n_swaps=5, swap_consistency=1.0)] * n_judges, 0.5, n_shared)
    assert words in reason and bool(reason) == bool(words)


def test_people_who_throw_coins_are_at_chance_even_if_few_of_their_questions_are_shared() -> None:
    generator = np.random.default_rng(0)
    n_passed = 0
    for _ in range(30):
        votes = pd.DataFrame(
            [
                (f"p{pair}", order, *(("m", "w") if order == 1 else ("w", "m")), f"people/{person}", answer)
                for person in range(30)
                for pair in generator.choice(200, size=6, replace=False)
                for order in (1, 2)
                for answer in generator.choice(["A", "B"], size=1)
                if generator.random() < 0.6
            ],
            columns=["pair_id", "order", "method_a", "method_b", "judge", "answer"],
        )
        health = judge_health(votes).to_dict("records")
        n_passed += not at_chance("people", health, krippendorff_alpha(votes), n_shared_pairs(votes))
    assert n_passed <= 2


def drawn(n_pairs: int, share_right: float, generator: np.random.Generator) -> pd.DataFrame:
    """Return votes of three judges on pairs of a better and a worse unit, right for this share of the presentations."""
    rows = []
    for pair in range(n_pairs):
        for order in (1, 2):
            better = "A" if order == 1 else "B"
            worse = "B" if order == 1 else "A"
            methods = ("m", "w") if order == 1 else ("w", "m")
            for name in ("x", "y", "z"):
                answer = better if generator.random() < share_right else worse
                rows.append((f"p{pair}", order, methods[0], methods[1], name, answer))
    return pd.DataFrame(rows, columns=["pair_id", "order", "method_a", "method_b", "judge", "answer"]).assign(
        unit_a="u", unit_b="v"
    )


def test_random_votes_are_found_and_good_ones_are_not() -> None:
    generator = np.random.default_rng(0)
    found = {}
    for share in (0.5, 0.9):
        reasons = []
        for _ in range(40):
            votes = drawn(60, share, generator)
            health = judge_health(votes).to_dict("records")
            reasons.append(at_chance("vllm:x+y+z", health, krippendorff_alpha(votes), n_shared_pairs(votes)))
        found[share] = sum(map(bool, reasons))
    assert found == {0.5: 40, 0.9: 0}
