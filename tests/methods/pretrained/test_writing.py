"""Fits written for other programs: what can be written, the same numbers after reading, and what is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from dictionary_cases import D_IN, D_OUT, KINDS, N_UNITS, dictionary_of, refusal_of
from in_memory import small_layer
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import methods
from methods import pretrained
from methods.errors import UserError
from methods.pretrained import writing
from methods.pretrained.origins import is_same_site
from methods.pretrained.trained_dictionary import TrainedConfig, TrainedDictionary
from methods.pretrained.weight_formats.base import Trained
from methods.pretrained.weight_formats.plain import Plain
from methods.sae.method import ActivationForm
from methods.sae.vanilla import VanillaSAE

TRAINED: dict[str, dict[str, Any]] = {
    "vanilla_sae": {},
    "topk_sae": {"k": 3},
    "frozen_decoder_sae": {"k": 3},
    "frozen_encoder_sae": {"k": 3},
    "soft_frozen_decoder_sae": {"k": 3},
    "gated_sae": {},
    "multi_topk_sae": {"k": 3},
    "random_matryoshka_sae": {"k": 3},
    "skip_transcoder": {"k": 3},
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
    refused = {
        "matching_pursuit_sae": "SAELens measures the codes",
        "skip_transcoder": "SAELens has no transcoder with",
    }
    if format_name == "saelens" and name in refused:
        assert refused[name] in refusal_of(method, path, format_name) and not list(tmp_path.iterdir())
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


@pytest.mark.parametrize(("name", "is_kept"), [("batchtopk_sae", True), ("jumprelu_sae", False)])
def test_a_code_at_the_threshold_is_kept_or_not_as_by_the_method(
    name: str, is_kept: bool, fits: dict[str, Any]
) -> None:
    method = copy.copy(fits[name])
    method.encoder_weight, method.encoder_bias = torch.eye(6), torch.zeros(6)
    method.atoms = torch.eye(6)
    limit = torch.tensor(0.3)
    setattr(method, *(("threshold", limit) if is_kept else ("thresholds", limit.expand(6))))
    x = torch.full((1, 6), 0.3)
    x[0, 1], x[0, 2] = limit.nextafter(torch.tensor(1.0)), limit.nextafter(torch.tensor(0.0))
    codes = method.as_trained_dictionary().encode(x)
    assert torch.equal(codes, method.encode(x))
    assert (codes != 0).tolist() == [[is_kept, True, False, is_kept, is_kept, is_kept]]


def test_every_sparse_autoencoder_and_transcoder_has_a_form() -> None:
    """A new family is part of the test above, or says here why no other program computes it."""
    families = {entry.name for entry in methods.METHODS if entry.load().spec.family in ("sae", "transcoder")}
    # Orthogonal pursuit solves a problem of its own per token: no activation of a dictionary computes its codes.
    assert families - {"pretrained_sae", "omp_sae"} == families & CONFIGS.keys()


@pytest.mark.parametrize("name", ["elude", "identity", "kmeans", "nmf", "omp_sae"])
def test_a_method_without_a_form_is_refused(name: str, tmp_path: Path) -> None:
    site, tokens = small_layer()
    config = {
        "elude": {"top_k": 60, "min_cluster_size": 5},
        "kmeans": {"expansion_factor": 2},
        "omp_sae": {"epochs": 1, "k": 2},
    }.get(name, {})
    method = methods.create(name, **config).fit(tokens, site)
    for format_name in ("plain", "saelens"):
        text = refusal_of(method, target(tmp_path, format_name), format_name)
        assert text.startswith(f"{name} has no form as a linear encoder") and not list(tmp_path.iterdir())


def test_an_unfitted_method_is_refused(tmp_path: Path) -> None:
    assert "is not fitted yet" in refusal_of(methods.create("topk_sae"), tmp_path / "a.safetensors")
    assert "is not fitted yet" in refusal_of(
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
    text = refusal_of(dictionary_of(kind), tmp_path / "sae", "saelens")
    assert NOT_OF_SAELENS[kind] in text and text.startswith(
        "trained_dictionary cannot be written in the format saelens"
    )
    assert not list(tmp_path.iterdir())


def test_another_eps_and_a_negative_scale_are_refused_by_saelens(tmp_path: Path) -> None:
    other = TrainedDictionary.of(
        TrainedConfig(token_scale="layer_norm", eps=1e-3),
        {name: getattr(dictionary_of("relu"), name) for name in TrainedDictionary.fitted},
    )
    assert "with eps = 1e-05, and the dictionary has 0.001" in refusal_of(other, tmp_path / "sae", "saelens")
    gated = dictionary_of("gated")
    gated.value_scale[2] = -1.0
    assert "must be positive for each unit" in refusal_of(gated, tmp_path / "sae", "saelens")
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
        assert reason in refusal_of(method, tmp_path / "a.safetensors")
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
    assert "what was written gives other codes or reconstructions" in refusal_of(
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
    assert "The tensor atoms of trained_dictionary contains NaN" in refusal_of(dictionary, tmp_path / "a.safetensors")

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


def test_a_pursuit_of_centred_and_scaled_tokens_is_the_same_without_a_gram_matrix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Brute force: k times the largest ``encoder_weight r + encoder_bias``, and ``c atoms`` is taken away."""
    x = torch.randn(40, D_IN, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    dictionary = dictionary_of("matching_pursuit").to("cpu")
    weight, bias, atoms = (getattr(dictionary, name).double() for name in ("encoder_weight", "encoder_bias", "atoms"))
    codes, rest = torch.zeros(len(x), N_UNITS, dtype=torch.float64), x.clone()
    for _ in range(dictionary.config.k):
        value, unit = (rest @ weight.T + bias).max(1)
        codes[torch.arange(len(x)), unit] += value
        rest -= value[:, None] * atoms[unit]
    torch.testing.assert_close(dictionary.encode(x), codes, rtol=1e-6, atol=1e-6)
    # What is taken away is what is written: the residual of the reconstruction.
    torch.testing.assert_close(x - dictionary.decode(codes), rest - dictionary.output_bias, rtol=1e-6, atol=1e-6)
    monkeypatch.setattr("methods.sae.matching_pursuit_steps.GRAM_BYTES", 0)
    torch.testing.assert_close(dictionary_of("matching_pursuit").encode(x), codes, rtol=1e-6, atol=1e-6)
