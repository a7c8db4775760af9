"""Units that never fire: the term that revives them, and the note that says how many are left."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from planted import Planted, planted
from torch import Tensor

import methods
from methods.sae.config import FixedL0, FixedL0Config, SparseConfig
from methods.sae.library import start
from methods.sae.matching_pursuit import PursuitAutoencoder
from methods.sae.topk import TopKAutoencoder

pytestmark = pytest.mark.run

#: An encoder that is independent of the atoms leaves a third of the units without a single active token.
MANY_DEAD = {"expansion_factor": 8, "k": 2, "epochs": 20, "batch_size": 512, "learning_rate": 2e-3}
MANY_DEAD |= {"encoder_start": "library", "dead_weight": 0.0}


@pytest.fixture(scope="module")
def data() -> Planted:
    return planted(n=2048)


def never_active(data: Planted, **config: Any) -> float:
    """Return the share of units that are active on no token."""
    method = methods.create("topk_sae", **{**MANY_DEAD, **config}).fit(data.tokens, data.site, seed=1)
    return float((method.encode(data.tokens.fields["output"]) == 0).all(0).float().mean())


def test_the_paper_s_weights_revive_units_in_the_form_of_the_library_only(data: Planted) -> None:
    without = never_active(data)
    assert without > 0.3
    assert never_active(data, dead_weight=1e-3) == pytest.approx(without, abs=0.02)
    assert never_active(data, dead_weight=1e-3, dead_over="batch") < without - 0.05
    assert never_active(data, dead_weight=1e-2, dead_over="batch") < 0.1


def totals(trainee: TopKAutoencoder | PursuitAutoencoder, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss without its error, and the number of dead units."""
    loss = trainee.loss(x)
    return (loss.total - loss.error).detach(), (loss.fires == 0).sum()


@pytest.mark.parametrize("family", ["linear", "pursuit"])
def test_the_sum_over_a_batch_is_its_size_times_the_mean(family: str) -> None:
    x = torch.randn(40, 16, generator=torch.Generator().manual_seed(0))
    first = start(16, 16, 300, seed=1)
    found = []
    for over in ("token", "batch"):
        given = {"dead_weight": 0.1, "dead_over": over, "k": 2}
        if family == "linear":
            term, dead = totals(TopKAutoencoder(first, FixedL0Config.model_validate(given), 2), x)
        else:
            pursuit = PursuitAutoencoder(first.atoms, FixedL0.model_validate(given), 2)
            pursuit.project()
            term, dead = totals(pursuit, x)
        assert int(dead) > 100
        found.append(term)
    torch.testing.assert_close(found[1], 40 * found[0])


def test_the_default_is_no_part_of_a_dumped_configuration() -> None:
    assert "dead_over" not in SparseConfig().model_dump()
    assert SparseConfig(dead_over="batch").model_dump()["dead_over"] == "batch"
