"""Units that never fire: the term that revives them, and the note that says how many are left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from planted import Planted, planted
from torch import Tensor

import methods
from methods.sae.config import FixedL0, FixedL0Config, SparseConfig
from methods.sae.dead_units import MANY, dead_units_note
from methods.sae.gated import GatedConfig
from methods.sae.jumprelu import JumpReLUConfig
from methods.sae.library import start
from methods.sae.matching_pursuit import PursuitAutoencoder
from methods.sae.topk import TopKAutoencoder
from methods.sae.vanilla import VanillaConfig
from methods.training.checkpoint import Checkpoint

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


def test_a_fit_with_many_dead_units_says_how_many_and_what_to_set(data: Planted) -> None:
    few = methods.create("topk_sae", **{**MANY_DEAD, "encoder_start": "dictionary"}).fit(data.tokens, data.site, seed=1)
    assert few.notes == []
    method = methods.create("topk_sae", **MANY_DEAD).fit(data.tokens, data.site, seed=1)
    silent = method.history[-1].silent  # type: ignore[attr-defined]
    assert silent > 0.3
    assert method.notes == [
        f"{round(silent * 256)} of 256 units ({silent:.0%}) were active on no token of the last epoch. "
        'To revive them, set dead_over = "batch", a larger dead_weight, auxk or encoder_start = "dictionary".'
    ]


def test_the_note_recommends_what_the_fit_does_not_have_and_only_if_many_units_are_dead() -> None:
    given = FixedL0Config(dead_over="batch")
    note = dead_units_note(0.25, 8, given)
    assert note is not None and note.startswith("2 of 8 units (25%)") and "dead_over" not in note
    assert dead_units_note(MANY, 8, given) is None and dead_units_note(None, 8, given) is None
    assert "auxk" in str(dead_units_note(0.25, 8, given))
    assert "auxk" not in str(dead_units_note(0.25, 8, FixedL0Config(epochs=1)))
    for config in (VanillaConfig(), GatedConfig()):
        assert "set a smaller l1_weight, " in str(dead_units_note(0.25, 8, config))
    assert "set a smaller sparsity_weight, " in str(dead_units_note(0.25, 8, JumpReLUConfig()))
    assert "smaller" not in str(dead_units_note(0.25, 8, VanillaConfig(l1_weight=0)))
    fixed = dead_units_note(0.25, 8, given, encoder_is_fixed=True)
    assert fixed is not None and fixed.endswith("No setting revives them, because the encoder is not trained.")
    assert "encoder_start" not in str(dead_units_note(0.25, 8, FixedL0(dead_weight=0)))


def test_the_note_is_the_same_after_a_resumed_training(data: Planted, tmp_path: Path) -> None:
    whole = methods.create("topk_sae", **MANY_DEAD).fit(data.tokens, data.site, seed=1)
    assert len(whole.notes) == 1

    def stop(done: int, total: int, what: str) -> None:
        if done == 79:
            raise KeyboardInterrupt

    method: Any = methods.create("topk_sae", **MANY_DEAD)
    method.checkpoint = Checkpoint(tmp_path / "run.safetensors", every_seconds=0)
    with pytest.raises(KeyboardInterrupt):
        method.fit(data.tokens, data.site, seed=1, progress=stop)
    assert method.fit(data.tokens, data.site, seed=1).notes == whole.notes
