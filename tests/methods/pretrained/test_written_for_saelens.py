"""Folders that are written for SAELens, loaded by SAELens itself: opt-in, since it needs an environment of its own.

``SAELENS_PYTHON`` names the Python of an environment with ``sae-lens==6.54.12``.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from dictionary_cases import D_IN, N_UNITS, dictionary_of
from in_memory import small_layer
from paths import FIXTURES
from safetensors.torch import save_file

import methods
from methods import pretrained

PYTHON = os.environ.get("SAELENS_PYTHON")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON, reason="SAELENS_PYTHON names no Python with sae-lens"),
]

#: Dictionary -> the class of SAELens that loads it.
CLASSES = {
    "relu": "StandardSAE",
    "relu_rms": "StandardSAE",
    "relu_layer_norm": "StandardSAE",
    "linear": "AbsTopKSAE",
    "topk": "TopKSAE",
    "abstopk": "AbsTopKSAE",
    "jumprelu": "JumpReLUSAE",
    "gated": "GatedSAE",
    "gated_layer_norm": "GatedSAE",
    "transcoder": "Transcoder",
    "transcoder_rms": "Transcoder",
    "jumprelu_transcoder": "JumpReLUTranscoder",
    "skip_transcoder": "SkipTranscoder",
    "jumprelu_skip_transcoder": "JumpReLUSkipTranscoder",
}
TRAINING = {"expansion_factor": 4, "epochs": 2, "batch_size": 64}
#: Method -> its settings and the class of SAELens that loads it.
METHODS: dict[str, tuple[dict[str, Any], str]] = {
    "vanilla_sae": (TRAINING, "StandardSAE"),
    "topk_sae": ({**TRAINING, "k": 3}, "TopKSAE"),
    "frozen_decoder_sae": ({**TRAINING, "k": 3}, "TopKSAE"),
    "archetypal_sae": (TRAINING, "TopKSAE"),
    "jumprelu_sae": (TRAINING, "JumpReLUSAE"),
    "batchtopk_sae": ({**TRAINING, "k": 3}, "JumpReLUSAE"),
    "matryoshka_sae": ({**TRAINING, "k": 3}, "JumpReLUSAE"),
    "transcoder": (TRAINING, "Transcoder"),
    "random_dictionary": ({"expansion_factor": 4, "k": 3}, "TopKSAE"),
    "pca": ({}, "AbsTopKSAE"),
    "ica": ({}, "AbsTopKSAE"),
}


def write(method: methods.base.Method, x: torch.Tensor, folder: Path) -> None:  # type: ignore[name-defined]
    pretrained.save(method, folder, "saelens", site="blocks.9.mlp.fc2", backbone="a_model")
    codes = method.encode(x)
    tensors = {"x": x, "codes": codes, "output": method.reconstruct(codes, x)}
    save_file({name: each.contiguous() for name, each in tensors.items()}, folder.with_suffix(".safetensors"))


def test_saelens_computes_the_same_codes_and_outputs(tmp_path: Path) -> None:
    site, tokens = small_layer()
    for kind in CLASSES:
        x = 2 * torch.randn(40, D_IN, generator=torch.Generator().manual_seed(1)) + 0.5
        write(dictionary_of(kind), x, tmp_path / f"random_{kind}")
    for name, (config, _) in METHODS.items():
        method = methods.create(name, **config).fit(tokens, site)
        write(method, tokens.fields[method.spec.reads], tmp_path / name)
    script = FIXTURES / "dictionaries" / "load_with_saelens.py"
    done = subprocess.run(
        [str(PYTHON), str(script), str(tmp_path)], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    wanted = {f"random_{kind}": cls for kind, cls in CLASSES.items()}
    wanted |= {name: cls for name, (_, cls) in METHODS.items()}
    assert {name: result["class"] for name, result in results.items()} == wanted
    for name, result in results.items():
        assert result["codes"] < 1e-5 and result["output"] < 1e-5 and result["active"], (name, result)
        is_transcoder = "transcoder" in name
        hooks = ("blocks.9.mlp.hook_post", "blocks.9.hook_mlp_out")
        assert (result["hook_name"], result["hook_name_out"]) == (hooks if is_transcoder else (hooks[1], None)), name
        assert result["model_name"] == "a_model"
        assert name in METHODS or result["sizes"][:2] == [D_IN, N_UNITS]
