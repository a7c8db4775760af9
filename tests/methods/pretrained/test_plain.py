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
        ({}, {"activation": "topk"}, "neither a tensor k nor the metadata give k: it must be a positive"),
        ({}, {"activation": "jumprelu"}, "there is no tensor threshold"),
        ({}, {"apply_b_dec_to_input": "perhaps"}, "it is true or false"),
        ({"k": torch.tensor(3.5)}, {}, "its k is '3.5': it must be a positive whole number"),
        ({"k": torch.tensor(0)}, {}, "its k is '0': it must be a positive whole number"),
        ({"k": torch.tensor(-3)}, {}, "its k is '-3': it must be a positive whole number"),
        ({}, {"k": "0"}, "its k is '0': it must be a positive whole number"),
        ({}, {"k": "²"}, "its k is '²': it must be a positive whole number"),
        ({"k": torch.tensor(True)}, {}, "its k has the shape .* and type torch.bool"),
        ({"k": torch.tensor([3, 4])}, {}, "its k has the shape .*, and is not one number"),
        ({"k": torch.tensor(4)}, {"k": "9"}, "its tensor k is 4, and its metadata say '9'"),
        ({"threshold": torch.ones(10)}, {"activation": "relu"}, "names the activation relu, which has no threshold"),
        ({"threshold": torch.ones(10)}, {"activation": "topk", "k": "3"}, "activation topk, which has no threshold"),
        ({"threshold": torch.ones(10), "k": torch.tensor(3)}, {}, "it has a threshold and a k"),
        ({"k": torch.tensor(3)}, {"activation": "linear"}, "names the activation linear, which has no k"),
        ({}, {"activation": "jumprelu", "k": "3"}, "names the activation jumprelu, which has no k"),
        ({}, {"activation": "relu", "k": "3"}, "names the activation relu, which has no k"),
        ({}, {"activation": ""}, "the activation ''"),
        ({"threshold": torch.ones(9)}, {}, "its threshold has the shape"),
        ({"threshold": torch.full((10,), float("nan"))}, {}, "contains NaN or infinity"),
        ({"W_enc": torch.zeros(6, 10, dtype=torch.int8)}, {}, "is no matrix"),
        ({"b_dec": torch.zeros(6, dtype=torch.complex64)}, {}, "is complex"),
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


@pytest.mark.parametrize("format_name", ["plain", "auto"])
def test_a_file_of_saelens_is_not_read_as_plain(format_name: str, tmp_path: Path) -> None:
    file = written(tmp_path).rename(tmp_path / "sae_weights.safetensors")
    with pytest.raises(UserError, match=r"of SAELens by its name|of a folder of the format saelens"):
        pretrained.load(file, format=format_name)
    renamed = file.rename(tmp_path / "renamed.safetensors")
    assert pretrained.load(renamed, format=format_name).n_units == 10
    (tmp_path / "cfg.json").write_text('{"architecture": "topk", "k": 3, "d_in": 6, "d_sae": 10}')
    with pytest.raises(UserError, match=r"of SAELens by the cfg\.json beside it"):
        pretrained.load(renamed, format=format_name)
    # The configuration of another file.
    (tmp_path / "sae_weights.safetensors").write_bytes(b"")
    assert pretrained.load(renamed, format=format_name).n_units == 10
    for content in ("[", "[]", '{"other": 1}'):
        (tmp_path / "sae_weights.safetensors").unlink(missing_ok=True)
        (tmp_path / "cfg.json").write_text(content)
        assert pretrained.load(renamed, format=format_name).n_units == 10
