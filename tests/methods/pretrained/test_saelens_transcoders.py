"""Transcoders of SAELens: methods that read the input of one linear layer; those across several layers are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from in_memory import small_layer
from original_dictionaries import assert_as_expected, copied, expected
from safetensors.torch import load_file, save_file

import methods
from harness.check.methods import check_method
from methods import pretrained
from methods.errors import UserError
from methods.pretrained.origins import NotOneLayer, transcoded_layer
from methods.pretrained.pretrained_sae import PretrainedSAE

D_IN, D_OUT, N_UNITS = 12, 10, 24


def changed(tmp_path: Path, name: str = "transcoder", **changes: Any) -> Path:
    folder = copied("saelens", name, tmp_path)
    config = json.loads((folder / "cfg.json").read_text())
    metadata = {**config["metadata"], **changes.pop("metadata", {})}
    (folder / "cfg.json").write_text(json.dumps({**config, **changes, "metadata": metadata}))
    return folder


def test_a_transcoder_reads_the_input_of_a_layer(tmp_path: Path) -> None:
    folder = copied("saelens", "skip_transcoder", tmp_path)
    config = PretrainedSAE.Config(weights=folder)
    spec = PretrainedSAE.spec_with(config)
    assert (spec.reads, spec.family, spec.name) == ("input", "transcoder", "pretrained_sae")
    assert (PretrainedSAE.layer_input_width(config), PretrainedSAE.layer_width(config)) == (D_IN, D_OUT)
    site, tokens = small_layer(d_in=D_IN, d_out=D_OUT)
    method = PretrainedSAE(config).fit(tokens, site)
    q = tokens.fields["input"]
    assert method.spec.reads == "input" and method.encode(q).shape == (len(q), N_UNITS)
    assert method.dictionary().atoms.shape == (N_UNITS, D_OUT) and method.decode_reads_input
    with pytest.raises(UserError, match=r"decode needs what encode has read as its second argument"):
        method.decode(method.encode(q))
    # An autoencoder of the output is what it was.
    plain = PretrainedSAE.Config(weights=copied("saelens", "standard", tmp_path))
    assert PretrainedSAE.spec_with(plain) == PretrainedSAE.spec and PretrainedSAE.layer_input_width(plain) is None


def test_the_skip_is_a_linear_map_of_the_input(tmp_path: Path) -> None:
    folder = copied("saelens", "skip_transcoder", tmp_path)
    sae, x = pretrained.load(folder), expected("saelens", "skip_transcoder")["x"]
    tensors = load_file(folder / "sae_weights.safetensors")
    codes = (x @ tensors["W_enc"] + tensors["b_enc"]).relu()
    torch.testing.assert_close(sae.encode(x), codes, rtol=1e-5, atol=1e-5)
    output = codes @ tensors["W_dec"] + tensors["b_dec"] + x @ tensors["W_skip"].T
    torch.testing.assert_close(sae.reconstruct(codes, x), output, rtol=1e-5, atol=1e-5)


def test_the_contract_of_every_method_holds(tmp_path: Path) -> None:
    for name in ("transcoder_layer_norm", "jumprelu_skip_transcoder"):
        findings = check_method(PretrainedSAE, {"weights": str(copied("saelens", name, tmp_path))})
        assert [f"{one.check}: {one.why}" for one in findings if not one.ok] == []
        assert sum(one.applies for one in findings) > 15


def test_a_saved_transcoder_is_loaded_as_one(tmp_path: Path) -> None:
    values = expected("saelens", "jumprelu_skip_transcoder")
    sae = pretrained.load(copied("saelens", "jumprelu_skip_transcoder", tmp_path))
    again = pretrained.load(sae.save(tmp_path / "saved.safetensors"))
    assert again.spec.reads == "input"
    assert_as_expected(again, values)


def test_a_layer_of_other_widths_is_refused(tmp_path: Path) -> None:
    folder = copied("saelens", "transcoder", tmp_path)
    for widths in ({"d_in": D_IN, "d_out": 7}, {"d_in": 7, "d_out": D_OUT}):
        site, tokens = small_layer(**widths)
        method = methods.create("pretrained_sae", weights=folder)
        with pytest.raises(
            UserError, match=r"are of a transcoder from 12 to 10 features, and this layer has \d+ inputs"
        ):
            method.fit(tokens, site)
        assert not method.is_fitted and method.spec == PretrainedSAE.spec


@pytest.mark.parametrize(
    ("hook_in", "hook_out", "layer"),
    [
        ("blocks.9.mlp.hook_post", "blocks.9.hook_mlp_out", "blocks.9.mlp.fc2"),
        ("blocks.9.ln2.hook_normalized", "blocks.9.mlp.hook_pre", "blocks.9.mlp.fc1"),
        ("blocks.9.mlp.act", "blocks.9.mlp.fc2", "blocks.9.mlp.fc2"),
        ("blocks.9.mlp.fc2", "blocks.9.mlp.fc2", "blocks.9.mlp.fc2"),
        ("blocks.9.mlp.hook_post", None, None),
        (None, None, None),
        ("q", "a", None),
        ("blocks.9.something", "blocks.9.hook_mlp_out", None),
    ],
)
def test_the_layer_of_two_hooks(hook_in: str | None, hook_out: str | None, layer: str | None) -> None:
    assert transcoded_layer(hook_in, hook_out) == layer


@pytest.mark.parametrize(
    ("hook_in", "hook_out"),
    [
        ("blocks.9.ln2.hook_normalized", "blocks.9.hook_mlp_out"),
        ("blocks.9.hook_resid_mid", "blocks.9.hook_mlp_out"),
        ("blocks.9.mlp.hook_post", "blocks.10.hook_mlp_out"),
        ("blocks.8.hook_resid_post", "blocks.9.hook_resid_post"),
        ("blocks.9.hook_resid_post", "blocks.9.hook_resid_post"),
        ("blocks.9.norm2", "blocks.9.mlp.fc2"),
    ],
)
def test_hooks_of_several_layers(hook_in: str, hook_out: str, tmp_path: Path) -> None:
    with pytest.raises(NotOneLayer):
        transcoded_layer(hook_in, hook_out)
    folder = changed(tmp_path, metadata={"hook_name": hook_in, "hook_name_out": hook_out})
    with pytest.raises(UserError, match="which are not the input and the output of one linear layer"):
        pretrained.load(folder)


def test_another_layer_than_the_trained_one_is_a_note(tmp_path: Path) -> None:
    folder = copied("saelens", "transcoder", tmp_path)
    site, tokens = small_layer(d_in=D_IN, d_out=D_OUT)
    for path, is_noted in (("blocks.10.mlp.fc2", False), ("blocks.9.mlp.fc2", True)):
        site.path = path  # type: ignore[attr-defined]
        notes = methods.create("pretrained_sae", weights=folder).fit(tokens, site).notes
        assert any("The weights name the site 'blocks.10.mlp.fc2'" in note for note in notes) == is_noted


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("transcoder", {"apply_b_dec_to_input": True}, "which SAELens does not compute for transcoders"),
        ("transcoder", {"d_out": 12}, "its cfg.json says d_out = 12, and its tensors say 10"),
        ("transcoder", {"d_in": 10}, "its cfg.json says d_in = 10, and its tensors say 12"),
        ("standard", {"d_sae": 23}, "its cfg.json says d_sae = 23, and its tensors say 24"),
        ("standard", {"d_in": "12"}, "its cfg.json says d_in = 12, and its tensors say 12"),
        ("skip_transcoder", {"architecture": "transcoder"}, "a tensor 'W_skip', and the architecture transcoder has"),
        ("transcoder", {"architecture": "skip_transcoder"}, "its tensor W_skip is missing"),
        ("transcoder", {"architecture": "standard"}, "its hook_name_out 'blocks.10.hook_mlp_out' is another"),
        ("transcoder", {"activation_fn": "topk", "activation_fn_kwargs": {"k": 2}}, "that of a transcoder is relu"),
        ("gated", {"activation_fn_str": "tanh"}, "that of a gated is relu"),
        ("standard", {"hook_head_index": 3}, "it reads one head of an attention"),
    ],
)
def test_contradictions_are_refused(name: str, changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=reason) as refused:
        pretrained.load(changed(tmp_path, name, **changes))
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 600


def test_a_skip_of_another_shape_is_refused(tmp_path: Path) -> None:
    folder = copied("saelens", "skip_transcoder", tmp_path)
    file = folder / "sae_weights.safetensors"
    save_file({**load_file(file), "W_skip": torch.zeros(D_IN, D_OUT)}, file)
    with pytest.raises(UserError, match="the tensor 'skip_weight' has the shape"):
        pretrained.load(folder)
