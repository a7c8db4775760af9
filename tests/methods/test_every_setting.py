"""Each setting of each method: a stored and loaded fit is equal to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from variants import built_in, variants

import methods
from harness.check.world import small_layer

pytestmark = pytest.mark.run


@pytest.mark.parametrize("name", built_in())
def test_a_loaded_method_is_the_saved_one(name: str, tmp_path: Path) -> None:
    site, tokens = small_layer()
    for what, _, config, _ in variants(name):
        made = methods.create(name, **config).fit(tokens, site, seed=1)
        loaded = methods.load(made.save(tmp_path / "method.safetensors"))
        assert type(loaded) is type(made) and loaded.config == made.config, what
        x = tokens.fields[made.spec.reads]
        codes = made.encode(x)
        assert torch.equal(loaded.encode(x), codes), what
        assert torch.equal(loaded.reconstruct(codes, x), made.reconstruct(codes, x)), what
        ours, theirs = made.dictionary(), loaded.dictionary()
        assert torch.equal(ours.atoms, theirs.atoms) and ours.side == theirs.side, what
        assert (ours.parents is None) == (theirs.parents is None), what
        assert ours.parents is None or torch.equal(ours.parents, theirs.parents), what  # type: ignore[arg-type]
        assert (loaded.notes, loaded.curves) == (made.notes, made.curves), what


#: Settings that change no result, and why not.
IDLE = {
    "backend": "all backends agree",
    "threshold_momentum": "is of a threshold that is measured again at the end",
}
#: A dictionary or encoder that is never trained has no gradient.
NO_SAY = [
    ("frozen_decoder_sae", "remove_parallel_gradient"),
    *(("frozen_encoder_sae", setting) for setting in ("dead_weight", "dead_over")),
]
#: Settings of the terms for dead units, and families in which no unit is dead on this layer, so that they are 0.
OF_DEAD_UNITS = ("dead_weight", "dead_over", "auxk", "auxk_tokens", "auxk_weight")
NONE_DEAD = ("gated_sae", "jumprelu_sae", "multi_topk_sae", "transcoder", "vanilla_sae")


@pytest.mark.parametrize("name", built_in())
def test_every_setting_has_a_say(name: str) -> None:
    """One that changes nothing has been forgotten, or is said to change nothing."""
    site, tokens = small_layer()

    def computed(config: dict[str, Any]) -> Tensor:
        method = methods.create(name, **config).fit(tokens, site, seed=1)
        x = tokens.fields[method.spec.reads]
        codes = method.encode(x)
        return torch.cat([codes, method.reconstruct(codes, x)], dim=1)

    for what, setting, config, without in variants(name):
        idle = setting in ("", *IDLE) or (setting in OF_DEAD_UNITS and name in NONE_DEAD) or (name, setting) in NO_SAY
        one, other = computed(config), computed(without)
        assert (one.shape != other.shape or not torch.equal(one, other)) != idle, what
