"""Random trained dictionaries of every kind, for tests that write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from methods import pretrained
from methods.base import Method
from methods.errors import UserError
from methods.pretrained.trained_dictionary import TrainedConfig, TrainedDictionary

D_IN, D_OUT, N_UNITS, K = 12, 10, 24, 3

#: Settings of every kind of dictionary, by name.
KINDS: dict[str, dict[str, Any]] = {
    "relu": {},
    "relu_rms": {"token_scale": "rms"},
    "relu_layer_norm": {"token_scale": "layer_norm", "eps": 1e-5},
    "linear": {"activation": "linear"},
    "topk": {"activation": "topk", "k": K},
    "signed_topk": {"activation": "signed_topk", "k": K},
    "abstopk": {"activation": "abstopk", "k": K},
    "jumprelu": {"activation": "jumprelu"},
    "gated": {"activation": "gated"},
    "gated_layer_norm": {"activation": "gated", "token_scale": "layer_norm", "eps": 1e-5},
    "matching_pursuit": {"activation": "matching_pursuit", "k": K},
    "transcoder": {"reads": "input"},
    "transcoder_rms": {"reads": "input", "token_scale": "rms"},
    "topk_transcoder": {"reads": "input", "activation": "topk", "k": K},
    "jumprelu_transcoder": {"reads": "input", "activation": "jumprelu"},
    "skip_transcoder": {"reads": "input", "skip": True},
    "jumprelu_skip_transcoder": {"reads": "input", "skip": True, "activation": "jumprelu"},
    "output_skip": {"skip": True},
}


def dictionary_of(kind: str, seed: int = 0) -> TrainedDictionary:
    """Return a dictionary with random tensors; that of a transcoder writes another width than it reads."""
    config = TrainedConfig(**KINDS[kind])
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int, scale: float = 0.5) -> torch.Tensor:
        return scale * torch.randn(*shape, generator=generator)

    d_out = D_OUT if config.reads == "input" else D_IN
    tensors = {
        "encoder_weight": drawn(N_UNITS, D_IN),
        "encoder_bias": drawn(N_UNITS, scale=0.3),
        "atoms": drawn(N_UNITS, d_out),
        "output_bias": drawn(d_out),
        "threshold": drawn(N_UNITS).abs(),
        "value_scale": drawn(N_UNITS).exp(),
        "value_bias": drawn(N_UNITS),
        "skip_weight": drawn(d_out, D_IN),
    }
    if config.activation == "matching_pursuit":
        # The residual of centred tokens, in units of 2: unit atoms d are read by d / 2 and write 2 d.
        unit = tensors["atoms"] / tensors["atoms"].norm(dim=1, keepdim=True)
        tensors |= {"encoder_weight": unit / 2, "atoms": 2 * unit, "encoder_bias": -(unit / 2) @ tensors["output_bias"]}
    return TrainedDictionary.of(config, tensors)


def refusal_of(method: Method, path: Path, format_name: str = "plain", **options: Any) -> str:
    """Return the sentence with which it is refused to write a method."""
    with pytest.raises(UserError) as error:
        pretrained.save(method, path, format_name, **options)
    text = str(error.value)
    assert "\n" not in text and len(text) < 600
    return text
