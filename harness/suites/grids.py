"""Hyperparameter grids of the trained families (ELUDe paper, App. E.1)."""

from __future__ import annotations

import itertools

from harness.errors import UserError
from methods.registry import did_you_mean

LEARNING_RATES = (1e-4, 5e-4, 1e-3)

DEAD_WEIGHTS = (1e-5, 1e-4, 1e-3)

L1_WEIGHTS = (1e-3, 5e-3, 2e-2)

SPARSITY_WEIGHTS = (1e-4, 1e-3, 1e-2)

_SHARED: dict[str, tuple[float, ...]] = {"learning_rate": LEARNING_RATES, "dead_weight": DEAD_WEIGHTS}

#: Family -> values of each swept setting: 27 + 27 + 5 x 9 = 99 configurations, and 27 of the transcoder.
GRIDS: dict[str, dict[str, tuple[float, ...]]] = {
    "vanilla_sae": {**_SHARED, "l1_weight": L1_WEIGHTS},
    "jumprelu_sae": {**_SHARED, "sparsity_weight": SPARSITY_WEIGHTS},
    "topk_sae": _SHARED,
    "batchtopk_sae": _SHARED,
    "matching_pursuit_sae": _SHARED,
    "matryoshka_sae": _SHARED,
    "archetypal_sae": _SHARED,
    "transcoder": {**_SHARED, "l1_weight": L1_WEIGHTS},
}


def grid(family: str, which: str = "full") -> list[dict[str, float]]:
    """Return the swept configurations of a family, in the order of the paper's lists.

    Args:
        family: name of the method.
        which: ``full``, or ``few``: the smallest and largest learning rate with the middle value of all other settings.

    Raises:
        UserError: if the family has no grid.
    """
    if family not in GRIDS:
        raise UserError(f"There is no sweep grid for {family!r}. {did_you_mean(family, list(GRIDS))}")
    axes = GRIDS[family]
    if which == "few":
        axes = {key: (values[0], values[-1]) if key == "learning_rate" else values[1:2] for key, values in axes.items()}
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
