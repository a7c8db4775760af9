"""Fits written for other programs: what can be written, the same numbers after reading, and what is refused."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from dictionary_cases import D_IN, D_OUT, KINDS, N_UNITS, dictionary_of
from in_memory import small_layer
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import methods
from methods import pretrained
from methods.errors import UserError
from methods.pretrained import writing
from methods.pretrained.origins import hook_name, hook_names_of_layer, is_same_site, transcoded_layer
from methods.pretrained.trained_dictionary import TrainedConfig, TrainedDictionary
from methods.pretrained.weight_formats.base import Trained
from methods.pretrained.weight_formats.plain import Plain
from methods.sae.method import ActivationForm
from methods.sae.vanilla import VanillaSAE

TRAINED: dict[str, dict[str, Any]] = {
    "vanilla_sae": {},
    "topk_sae": {"k": 3},
    "frozen_decoder_sae": {"k": 3},
    "jumprelu_sae": {},
    "batchtopk_sae": {"k": 3},
    "matryoshka_sae": {"k": 3},
    "archetypal_sae": {},
    "matching_pursuit_sae": {"k": 3},
    "transcoder": {},
}
UNTRAINED: dict[str, dict[str, Any]] = {"random_dictionary": {"k": 3, "expansion_factor": 4}, "pca": {}, "ica": {}}
CONFIGS = {
    **{name: {"expansion_factor": 4, "epochs": 2, "batch_size": 64, **config} for name, config in TRAINED.items()},
    **UNTRAINED,
}
#: Dictionaries that SAELens does not compute -> the reason.
NOT_OF_SAELENS = {
    "signed_topk": "no autoencoder with the activation signed_topk",
    "matching_pursuit": "in the units of the layer",
    "topk_transcoder": "no transcoder with the activation topk",
    "output_skip": "a skip in transcoders only",
}
OF_SAELENS = sorted(KINDS.keys() - NOT_OF_SAELENS.keys())


@pytest.fixture(scope="module")
def fits() -> dict[str, methods.base.Method]:  # type: ignore[name-defined]
    """A fit of every method that has a form as a trained dictionary."""
    site, tokens = small_layer()
    return {name: methods.create(name, **config).fit(tokens, site) for name, config in CONFIGS.items()}


def target(folder: Path, format_name: str) -> Path:
    return folder / ("sae.safetensors" if format_name == "plain" else "sae")


def refused(method: Any, path: Path, format_name: str = "plain", **options: Any) -> str:
    with pytest.raises(UserError) as error:
        pretrained.save(method, path, format_name, **options)
    text = str(error.value)
    assert "\n" not in text and len(text) < 600
    return text


# ---- every method


@pytest.mark.parametrize("name", CONFIGS)
def test_the_form_of_a_method_has_its_codes_and_reconstructions(name: str, fits: dict[str, Any]) -> None:
    method, (_, tokens) = fits[name], small_layer()
    form = method.as_trained_dictionary()
    x = tokens.fields[method.spec.reads].double()
    codes = method.encode(x)
    assert bool((codes != 0).any()) and form.spec.reads == method.spec.reads
    torch.testing.assert_close(form.encode(x), codes, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(form.reconstruct(codes, x), method.reconstruct(codes, x), rtol=1e-6, atol=1e-6)
    # The fit is neither changed nor shared.
    form.atoms.zero_()
    assert torch.equal(method.encode(x), codes) and bool(method.atoms.any())


@pytest.mark.parametrize("format_name", ["plain", "saelens"])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_written_method_is_read_as_the_same(
    name: str, format_name: str, fits: dict[str, Any], tmp_path: Path
) -> None:
    method, (_, tokens) = fits[name], small_layer()
    path = target(tmp_path, format_name)
    if (name, format_name) == ("matching_pursuit_sae", "saelens"):
        assert "SAELens measures the codes" in refused(method, path, format_name) and not list(tmp_path.iterdir())
        return
    assert pretrained.save(method, path, format_name, site="blocks.9.mlp.fc2", backbone="tiny_vit") == path
    sae = pretrained.load(path)
    assert sae.source is not None and sae.source.format == format_name
    assert sae.spec.reads == method.spec.reads and sae.source.backbone == "tiny_vit"
    assert is_same_site(str(sae.source.site), "blocks.9.mlp.fc2")
    x = tokens.fields[method.spec.reads]
    codes = sae.encode(x)
    torch.testing.assert_close(codes, method.encode(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sae.reconstruct(codes, x), method.reconstruct(method.encode(x), x), rtol=1e-5, atol=1e-5)
    # Training folded its normalisation in, and the same products follow: only centred controls differ by rounding.
    if name in TRAINED and name != "matching_pursuit_sae":
        assert torch.equal(codes, method.encode(x))


def test_every_sparse_autoencoder_and_transcoder_has_a_form() -> None:
    """A new family is part of the test above, or says here why no other program computes it."""
    families = {entry.name for entry in methods.METHODS if entry.load().spec.family in ("sae", "transcoder")}
    assert families - {"pretrained_sae"} <= CONFIGS.keys()


@pytest.mark.parametrize("name", ["elude", "identity", "kmeans", "nmf"])
def test_a_method_without_a_form_is_refused(name: str, tmp_path: Path) -> None:
    site, tokens = small_layer()
    config = {"elude": {"top_k": 60, "min_cluster_size": 5}, "kmeans": {"expansion_factor": 2}}.get(name, {})
    method = methods.create(name, **config).fit(tokens, site)
    for format_name in ("plain", "saelens"):
        text = refused(method, target(tmp_path, format_name), format_name)
        assert text.startswith(f"{name} has no form as a linear encoder") and not list(tmp_path.iterdir())


def test_an_unfitted_method_is_refused(tmp_path: Path) -> None:
    assert "is not fitted yet" in refused(methods.create("topk_sae"), tmp_path / "a.safetensors")
    assert "is not fitted yet" in refused(
        methods.create("pretrained_sae", weights=tmp_path / "b.safetensors"), tmp_path / "a.safetensors"
    )


# ---- every kind of dictionary


@pytest.mark.parametrize("kind", KINDS)
def test_plain_has_a_place_for_every_dictionary(kind: str, tmp_path: Path) -> None:
    dictionary = dictionary_of(kind)
    sae = pretrained.load(pretrained.save(dictionary, tmp_path / "a.safetensors"))
    assert sae.implementation.config == dictionary.config
    for name in dictionary.fitted:
        assert torch.equal(getattr(sae, name), getattr(dictionary, name)), name
    assert not any("does not say" in note for note in sae.notes)


def test_the_kinds_are_all_that_a_dictionary_can_have() -> None:
    from typing import get_args

    from methods.interface import Reads
    from methods.pretrained.trained_dictionary import Activation, TokenScale

    configs = [dictionary_of(kind).config for kind in KINDS]
    assert {config.activation for config in configs} == set(get_args(Activation))
    assert {config.token_scale for config in configs} == set(get_args(TokenScale))
    assert {config.reads for config in configs} == set(get_args(Reads))


@pytest.mark.parametrize("kind", OF_SAELENS)
def test_saelens_has_a_place_for_its_architectures(kind: str, tmp_path: Path) -> None:
    dictionary = dictionary_of(kind)
    folder = pretrained.save(dictionary, tmp_path / "sae", "saelens")
    assert sorted(path.name for path in folder.iterdir()) == ["cfg.json", "sae_weights.safetensors"]
    config = json.loads((folder / "cfg.json").read_text())
    shapes = {name: tuple(tensor.shape) for name, tensor in load_file(folder / "sae_weights.safetensors").items()}
    is_transcoder = dictionary.config.reads == "input"
    d_out = D_OUT if is_transcoder else D_IN
    bias = "b_gate" if "gated" in kind else "b_enc"
    wanted = {"W_enc": (D_IN, N_UNITS), "W_dec": (N_UNITS, d_out), "b_dec": (d_out,), bias: (N_UNITS,)}
    wanted |= {"r_mag": (N_UNITS,), "b_mag": (N_UNITS,)} if "gated" in kind else {}
    wanted |= {"threshold": (N_UNITS,)} if "jumprelu" in kind else {}
    wanted |= {"W_skip": (d_out, D_IN)} if "skip" in kind else {}
    assert shapes == wanted
    sizes = {"d_in": D_IN, "d_sae": N_UNITS, "dtype": "float32", "device": "cpu", "apply_b_dec_to_input": False}
    assert config.items() >= sizes.items() and config.get("d_out") == (d_out if is_transcoder else None)
    again = pretrained.load(folder).implementation
    expected = {"linear": TrainedConfig(activation="abstopk", k=N_UNITS)}.get(kind, dictionary.config)
    assert again.config == expected


@pytest.mark.parametrize("kind", NOT_OF_SAELENS)
def test_what_saelens_does_not_compute_is_refused(kind: str, tmp_path: Path) -> None:
    text = refused(dictionary_of(kind), tmp_path / "sae", "saelens")
    assert NOT_OF_SAELENS[kind] in text and text.startswith(
        "trained_dictionary cannot be written in the format saelens"
    )
    assert not list(tmp_path.iterdir())


def test_another_eps_and_a_negative_scale_are_refused_by_saelens(tmp_path: Path) -> None:
    other = TrainedDictionary.of(
        TrainedConfig(token_scale="layer_norm", eps=1e-3),
        {name: getattr(dictionary_of("relu"), name) for name in TrainedDictionary.fitted},
    )
    assert "with eps = 1e-05, and the dictionary has 0.001" in refused(other, tmp_path / "sae", "saelens")
    gated = dictionary_of("gated")
    gated.value_scale[2] = -1.0
    assert "must be positive for each unit" in refused(gated, tmp_path / "sae", "saelens")
    for number, dictionary in enumerate((other, gated)):
        pretrained.save(dictionary, tmp_path / f"{number}.safetensors")


def test_weights_of_others_are_written_again(tmp_path: Path) -> None:
    first = pretrained.load(pretrained.save(dictionary_of("gated"), tmp_path / "first", "saelens"))
    second = pretrained.load(pretrained.save(first, tmp_path / "second.safetensors"))
    third = pretrained.load(pretrained.save(second, tmp_path / "third", "saelens"))
    x = torch.randn(40, D_IN, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(third.encode(x), first.encode(x), rtol=1e-5, atol=1e-6)
    # What `Method.save` wrote of them as well.
    saved = pretrained.load(second.save(tmp_path / "saved.safetensors"))
    fourth = pretrained.load(pretrained.save(saved, tmp_path / "fourth.safetensors"))
    assert torch.equal(fourth.encode(x), second.encode(x))


# ---- origin


def test_the_origin_is_in_the_files(tmp_path: Path) -> None:
    dictionary, provenance = dictionary_of("topk"), {"cell_id": "abc", "harness_version": "1", "k": "lie"}
    origin: dict[str, Any] = {"site": "blocks.10", "backbone": "dinov2", "provenance": provenance}
    file = pretrained.save(dictionary, tmp_path / "a.safetensors", **origin)
    with safe_open(str(file), framework="pt") as opened:
        metadata = opened.metadata()
    assert metadata == {
        **{"cell_id": "abc", "harness_version": "1", "k": "3", "activation": "topk"},
        **{"apply_b_dec_to_input": "false", "site": "blocks.10", "backbone": "dinov2"},
    }
    folder = pretrained.save(dictionary, tmp_path / "sae", "saelens", **origin)
    metadata = json.loads((folder / "cfg.json").read_text())["metadata"]
    assert metadata == {
        **{"cell_id": "abc", "harness_version": "1", "k": "lie", "site": "blocks.10"},
        **{"hook_name": "blocks.10.hook_resid_post", "model_name": "dinov2"},
        # Without a version SAELens takes the folder for one of version 5 and drops these entries.
        **{"sae_lens_version": "6.54.12", "sae_lens_training_version": None},
    }
    for path in (file, folder):
        source = pretrained.load(path).source
        assert source is not None and is_same_site(str(source.site), "blocks.10") and source.backbone == "dinov2"


@pytest.mark.parametrize(
    ("path", "hook"),
    [
        ("blocks.10", "blocks.10.hook_resid_post"),
        ("blocks.9.mlp.fc2", "blocks.9.hook_mlp_out"),
        ("blocks.9.mlp.act", "blocks.9.mlp.hook_post"),
        ("blocks.9.attn.proj", "blocks.9.hook_attn_out"),
        ("blocks.9.norm1", "blocks.9.norm1"),
        ("stages.2.blocks.3", "stages.2.blocks.3"),
        ("layer4", "layer4"),
    ],
)
def test_a_site_has_the_name_that_readers_know(path: str, hook: str) -> None:
    assert hook_name(path) == hook and is_same_site(hook, path)
    assert transcoded_layer(*hook_names_of_layer(f"{path}.fc")) == f"{path}.fc"


def test_the_hooks_of_a_layer_lead_back_to_it() -> None:
    for path in ("blocks.9.mlp.fc2", "blocks.9.mlp.fc1", "blocks.9.attn.proj", "encoder.layers.3.mlp.fc2", "head"):
        assert transcoded_layer(*hook_names_of_layer(path)) == path
    assert hook_names_of_layer("blocks.9.mlp.fc2") == ("blocks.9.mlp.hook_post", "blocks.9.hook_mlp_out")


# ---- paths


def test_an_existing_file_or_folder_is_kept(tmp_path: Path) -> None:
    dictionary, other = dictionary_of("relu"), dictionary_of("relu", seed=1)
    file, folder = tmp_path / "a.safetensors", tmp_path / "sae"
    for path, format_name in ((file, "plain"), (folder, "saelens")):
        pretrained.save(dictionary, path, format_name)
        assert ("exists" if format_name == "plain" else "is not empty") in refused(other, path, format_name)
        assert torch.equal(pretrained.load(path).atoms, dictionary.atoms)
        pretrained.save(other, path, format_name, overwrite=True)
        assert torch.equal(pretrained.load(path).atoms, other.atoms)
    (folder / "thesis.tex").write_text("mine")
    assert "has other files ('thesis.tex')" in refused(dictionary, folder, "saelens", overwrite=True)
    assert torch.equal(load_file(folder / "sae_weights.safetensors")["W_dec"], other.atoms)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "sae"]


def test_paths_of_the_wrong_kind_are_refused(tmp_path: Path) -> None:
    dictionary = dictionary_of("relu")
    (tmp_path / "file").touch()
    assert "ends in .safetensors, not 'sae'" in refused(dictionary, tmp_path / "sae")
    assert "is a folder" in refused(dictionary, tmp_path)
    assert "named as a file" in refused(dictionary, tmp_path / "a.safetensors", "saelens")
    assert "is a file" in refused(dictionary, tmp_path / "file", "saelens")
    assert "cannot be written" in refused(dictionary, tmp_path / "file" / "a.safetensors")
    assert "cannot be written" in refused(dictionary, tmp_path / f"{'a' * 300}.safetensors")
    assert "is one file of a folder of the format saelens" in refused(dictionary, tmp_path / "sae_weights.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_this_folder_can_be_the_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    pretrained.save(dictionary_of("relu"), ".", "saelens")
    assert pretrained.load(tmp_path / "here").n_units == N_UNITS


def test_missing_folders_are_made_and_permissions_are_those_of_new_files(tmp_path: Path) -> None:
    umask = os.umask(0o022)
    try:
        file = pretrained.save(dictionary_of("relu"), tmp_path / "new" / "a.safetensors")
        folder = pretrained.save(dictionary_of("relu"), tmp_path / "new" / "sae", "saelens")
    finally:
        os.umask(umask)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (file, *folder.iterdir())}
    assert modes == {0o644} and stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_formats_without_a_writer_are_named(tmp_path: Path) -> None:
    dictionary = dictionary_of("relu")
    assert pretrained.writable_formats() == ["plain", "saelens"]
    text = refused(dictionary, tmp_path / "a.safetensors", "saev")
    assert text == "The format saev can be read, not written; formats that can be are plain, saelens."
    assert "what Method.save(PATH) writes" in refused(dictionary, tmp_path / "a.safetensors", "harness")
    assert "There is no format 'sealens' of weights. Did you mean saelens?" in refused(
        dictionary, tmp_path / "a.safetensors", "sealens"
    )


# ---- nothing else is written than the method


class Sloppy(VanillaSAE):
    """A method that changes its codes and forgets to say so in its form."""

    def activate(self, pre: torch.Tensor) -> torch.Tensor:
        return torch.where(pre > 0.5, pre, 0.0)


class Wrong(VanillaSAE):
    """A method whose form has no such number of units."""

    def activation_form(self) -> ActivationForm:
        return ActivationForm("topk", 1000)


def test_a_method_that_is_not_its_form_is_refused(fits: dict[str, Any], tmp_path: Path) -> None:
    fitted = fits["vanilla_sae"]
    for cls, reason in ((Sloppy, "gives other codes or reconstructions than its form"), (Wrong, "k = 1000")):
        method = cls(fitted.config)
        for name in method.fitted:
            setattr(method, name, getattr(fitted, name))
        assert reason in refused(method, tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["encoder_weight", "encoder_bias", "atoms", "output_bias"])
@pytest.mark.parametrize("kind", ["relu", "topk", "jumprelu"])
def test_a_writer_that_changes_a_tensor_is_found_out(
    kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Plain.write

    def write(self: Plain, trained: Trained, target: Path, provenance: Any) -> None:
        changed = dictionary_of(kind)
        getattr(changed, name).flatten()[0] += 1e-3
        original(self, trained._replace(dictionary=changed), target, provenance)

    monkeypatch.setattr(Plain, "write", write)
    assert "what was written gives other codes or reconstructions" in refused(
        dictionary_of(kind), tmp_path / "a.safetensors"
    )
    assert not list(tmp_path.iterdir())


def test_thresholds_of_any_size_are_reached_by_the_rows() -> None:
    for scale in (1e-2, 1.0, 30.0):
        dictionary = dictionary_of("jumprelu")
        dictionary.threshold.mul_(scale)
        rows = writing.random_rows(dictionary)
        pre = rows @ dictionary.encoder_weight.T.double() + dictionary.encoder_bias.double()
        is_active = dictionary.encode(rows) != 0
        assert bool(is_active.any()) and bool((~is_active & (pre > 0)).any())


def test_nan_is_refused_and_a_killed_writer_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dictionary = dictionary_of("relu")
    dictionary.atoms[0, 0] = torch.nan
    assert "The tensor atoms of trained_dictionary contains NaN" in refused(dictionary, tmp_path / "a.safetensors")

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "_require_read_back", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pretrained.save(dictionary_of("relu"), tmp_path / "b.safetensors")
    assert not list(tmp_path.iterdir())


def test_metadata_of_the_plain_format_that_means_nothing_is_refused(tmp_path: Path) -> None:
    file = pretrained.save(dictionary_of("gated_layer_norm"), tmp_path / "a.safetensors")
    tensors = load_file(file)
    with safe_open(str(file), framework="pt") as opened:
        metadata = opened.metadata()
    for changes, reason in (
        ({"token_scale": "batch"}, "its metadata token_scale is 'batch'; it is one of none, rms, layer_norm"),
        ({"eps": "-1"}, "its metadata eps is '-1'"),
        ({"eps": "nan"}, "its metadata eps is 'nan'"),
        ({"reads": "both"}, "its metadata reads is 'both'; it is one of input, output"),
    ):
        save_file(tensors, file, {**metadata, **changes})
        with pytest.raises(UserError, match=reason):
            pretrained.load(file)
    del tensors["value_scale"]
    save_file(tensors, file, metadata)
    with pytest.raises(UserError, match="names the activation gated, and there is no tensor value_scale"):
        pretrained.load(file)
