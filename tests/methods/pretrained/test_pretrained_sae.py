"""Weights of a file as a method: the same numbers as before, and the contract of every method."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from in_memory import small_layer

import methods
from harness.check.methods import check_method
from harness.check.world import small_layer as checked_layer
from harness.efficiency.cost import decode_macs, encode_macs, extra_macs, size_of
from methods import pretrained
from methods.pretrained.pretrained_sae import PretrainedSAE

#: Methods that need no training; the trained ones have the same tensors and are pushed in tests/harness/hub.
NAMES = ("random_dictionary", "pca")
CONFIGS = {"random_dictionary": {"expansion_factor": 2, "k": 3}}


def saved(name: str, folder: Path, layer: object = None) -> Path:
    site, tokens = small_layer() if layer is None else layer  # type: ignore[misc]
    return methods.create(name, **CONFIGS.get(name, {})).fit(tokens, site).save(folder / f"{name}.safetensors")


@pytest.mark.parametrize("name", NAMES)
def test_codes_costs_and_sizes_are_those_of_the_saved_method(name: str, tmp_path: Path) -> None:
    file = saved(name, tmp_path)
    site, tokens = small_layer()
    method = methods.create("pretrained_sae", weights=file).fit(tokens, site)
    original = methods.load(file)
    a = tokens.fields["output"]
    codes = method.encode(a)
    assert torch.equal(codes, original.encode(a)) and torch.equal(method.decode(codes), original.decode(codes))
    assert torch.equal(method.dictionary().atoms, original.dictionary().atoms) and method.parents is None
    for cost in (encode_macs, decode_macs, extra_macs):
        assert cost(method, 16, 6) == cost(original, 16, 6)
    assert size_of(method) == size_of(original)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_saved_and_loaded_as_any_method_without_its_file(name: str, tmp_path: Path) -> None:
    file = saved(name, tmp_path)
    site, tokens = small_layer()
    method = methods.create("pretrained_sae", weights=file).fit(tokens, site)
    again = method.save(tmp_path / "again.safetensors")
    codes = method.encode(tokens.fields["output"])
    file.unlink()
    loaded = methods.load(again)
    assert isinstance(loaded, PretrainedSAE) and loaded.config == method.config and loaded.notes == method.notes
    # Weights that were loaded can be saved and loaded again, as weights.
    for other in (loaded, pretrained.load(again)):
        assert torch.equal(other.encode(tokens.fields["output"]), codes)


def test_the_contract_of_every_method_holds(tmp_path: Path) -> None:
    file = saved("random_dictionary", tmp_path, checked_layer())
    findings = check_method(PretrainedSAE, {"weights": str(file)})
    assert [f"{one.check}: {one.why}" for one in findings if not one.ok] == []
    assert sum(one.applies for one in findings) > 15


def test_a_layer_of_another_width_is_refused(tmp_path: Path) -> None:
    file = saved("pca", tmp_path)
    site, tokens = small_layer(d_out=7)
    method = methods.create("pretrained_sae", weights=file)
    with pytest.raises(methods.UserError, match=r"read 6 features, and the output of this layer has 7"):
        method.fit(tokens, site)
    assert not method.is_fitted and method.input_width is None


def test_other_methods_and_formats_are_refused(tmp_path: Path) -> None:
    file = saved("identity", tmp_path)
    with pytest.raises(methods.UserError, match=r"METHODS.get\('identity'\).load"):
        pretrained.load(file)
    with pytest.raises(methods.UserError, match="There are no weights at"):
        pretrained.load(tmp_path / "absent.safetensors")
    with pytest.raises(methods.UserError, match="no format 'pickle'"):
        pretrained.load(file, "pickle")


def test_an_unfitted_method_has_no_attributes_of_a_fit(tmp_path: Path) -> None:
    method = methods.create("pretrained_sae", weights=tmp_path / "a.safetensors")
    with pytest.raises(AttributeError, match="no attribute 'atoms'"):
        method.atoms  # noqa: B018
    assert method.fingerprint() is None and method.code_width is None
