"""The plain format: which activation a file means, orientation, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from methods import pretrained
from methods.errors import UserError

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(20, 6, generator=GENERATOR)
W_ENC, B_ENC = torch.randn(6, 10, generator=GENERATOR), torch.randn(10, generator=GENERATOR)
W_DEC, B_DEC = torch.randn(10, 6, generator=GENERATOR), torch.randn(6, generator=GENERATOR)
TENSORS = {"W_enc": W_ENC, "b_enc": B_ENC, "W_dec": W_DEC, "b_dec": B_DEC}
PRE = X @ W_ENC + B_ENC


def written(folder: Path, metadata: dict[str, str] | None = None, **changes: torch.Tensor | None) -> Path:
    tensors = {name: tensor for name, tensor in {**TENSORS, **changes}.items() if tensor is not None}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "a.safetensors", metadata)
    return folder / "a.safetensors"


def topk(pre: torch.Tensor, k: int) -> torch.Tensor:
    kept = pre.topk(k, dim=1)
    return torch.zeros_like(pre).scatter(1, kept.indices, kept.values.relu())


@pytest.mark.parametrize(
    ("changes", "metadata", "codes"),
    [
        ({}, {}, PRE.relu()),
        ({}, {"activation": "linear"}, PRE),
        ({}, {"apply_b_dec_to_input": "true"}, ((X - B_DEC) @ W_ENC + B_ENC).relu()),
        ({"threshold": torch.tensor(0.5)}, {}, torch.where(PRE > 0.5, PRE, 0.0)),
        ({"threshold": torch.full((10,), 0.5)}, {}, torch.where(PRE > 0.5, PRE, 0.0)),
        ({"k": torch.tensor(3)}, {}, topk(PRE, 3)),
        ({}, {"activation": "topk", "k": "3"}, topk(PRE, 3)),
        ({}, {"k": "3"}, topk(PRE, 3)),
        ({"W_enc": W_ENC.T, "W_dec": W_DEC.T}, {}, PRE.relu()),
        ({"b_enc": None, "b_dec": None}, {}, (X @ W_ENC).relu()),
        ({"W_enc": W_ENC.double(), "b_enc": B_ENC.double()}, {}, PRE.relu()),
    ],
)
def test_codes_are_those_that_the_file_describes(
    changes: dict[str, Any], metadata: dict[str, str], codes: torch.Tensor, tmp_path: Path
) -> None:
    sae = pretrained.load(written(tmp_path, metadata, **changes))
    torch.testing.assert_close(sae.encode(X), codes, rtol=1e-5, atol=1e-5)
    offset = torch.zeros(6) if "b_dec" in changes else B_DEC
    torch.testing.assert_close(sae.decode(sae.encode(X)), codes @ W_DEC + offset, rtol=1e-5, atol=1e-4)


def test_what_the_file_does_not_say_is_a_note(tmp_path: Path) -> None:
    assert any("does not say whether b_dec is subtracted" in note for note in pretrained.load(written(tmp_path)).notes)
    said = pretrained.load(written(tmp_path, {"apply_b_dec_to_input": "false"}))
    assert not any("does not say" in note for note in said.notes)
    square = written(tmp_path, W_enc=torch.eye(6), b_enc=torch.zeros(6), W_dec=torch.eye(6))
    assert any("W_enc is square" in note for note in pretrained.load(square).notes)


@pytest.mark.parametrize(
    ("changes", "metadata", "reason"),
    [
        ({}, {"activation": "tanh"}, "the activation 'tanh'"),
        ({}, {"activation": "topk"}, "neither a tensor k nor the metadata give a positive whole number"),
        ({}, {"activation": "jumprelu"}, "there is no tensor threshold"),
        ({}, {"apply_b_dec_to_input": "perhaps"}, "it is true or false"),
        ({"k": torch.tensor(3.7)}, {}, "k"),
        ({"k": torch.tensor(4)}, {"k": "9"}, "k"),
        ({"k": torch.tensor(11)}, {}, "topk keeps k = 11 units per token, and there are 10"),
        ({"W_dec": torch.zeros(9, 6)}, {}, "its encoder has 10 units and its decoder 9"),
    ],
)
def test_mistakes_are_one_sentence(
    changes: dict[str, Any], metadata: dict[str, str], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=reason) as refused:
        pretrained.load(written(tmp_path, metadata, **changes))
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 600
