"""Fitted tensors whose names depend on the settings: saved, loaded and moved, and none that a file adds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from deep_decoder import DeepDecoder, DeepDecoderConfig
from safetensors import safe_open
from safetensors.torch import save_file

from harness.check.methods import check_method
from harness.check.world import small_layer
from harness.efficiency.cost import size_of
from methods import UserError
from methods.base import Method
from methods.identity import Identity


def fitted(**settings: Any) -> DeepDecoder:
    site, tokens = small_layer()
    return DeepDecoder(DeepDecoderConfig(**settings)).fit(tokens, site, seed=1)


def rewritten(file: Path, changes: dict[str, torch.Tensor | None]) -> Path:
    """The file with tensors added, or removed where they are None."""
    with safe_open(str(file), framework="pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        metadata = opened.metadata()
    tensors |= changes  # type: ignore[arg-type]
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, file, metadata=metadata)
    return file


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_a_dictionary_of_tensors_is_saved_and_loaded(layers: int, tmp_path: Path) -> None:
    method = fitted(layers=layers)
    file = method.save(tmp_path / "m.safetensors")
    with safe_open(str(file), framework="pt") as opened:
        assert sorted(opened.keys()) == [
            "encoder", *(f"layers.{number}.weight" for number in range(layers)), "mean"
        ]  # fmt: skip
    loaded = DeepDecoder.load(file)
    assert loaded.layers.keys() == method.layers.keys() and loaded.is_fitted
    codes = method.encode(torch.randn(5, 8, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(method.decode(codes), loaded.decode(codes))


def test_a_dictionary_of_tensors_is_moved_and_counted() -> None:
    method = fitted(layers=3)
    n = sum(tensor.numel() for tensor in method.fitted_tensors().values())
    assert size_of(method).parameters == n == 6 * 8 + 8 + 6 * 6 + 6 * 6 + 6 * 8
    assert method.to("meta") is method
    assert {tensor.device.type for tensor in method.layers.values()} == {"meta"} == {method.mean.device.type}


@pytest.mark.parametrize("layers", [{}, {"0": 1.0}, {"": torch.zeros(1)}, {0: torch.zeros(1)}, None, torch.zeros(1)])
def test_what_is_no_dictionary_of_tensors_is_not_fitted(layers: Any, tmp_path: Path) -> None:
    method = fitted()
    method.layers = layers
    assert not method.is_fitted
    with pytest.raises(UserError, match="deep_decoder is not fitted"):
        method.save(tmp_path / "m.safetensors")


def test_tensors_that_share_memory_are_saved(tmp_path: Path) -> None:
    method = fitted(layers=1)
    weight = method.layers["0.weight"]
    method.layers |= {"tied": weight, "view": weight[:2], "turned": weight.T, "empty": weight[:0], "none": weight[:0]}
    loaded = DeepDecoder.load(method.save(tmp_path / "m.safetensors"))
    assert list(loaded.layers) == sorted(method.layers)
    assert all(torch.equal(tensor, method.layers[name]) for name, tensor in loaded.layers.items())
    assert method.layers["tied"] is weight


@pytest.mark.parametrize(
    ("entries", "value", "why"),
    [
        (("w.*",), torch.zeros(2), "`w.*` names a dictionary, and `w` is a Tensor: write `w`."),
        (("w",), {"a": torch.zeros(2)}, "`w` names a tensor, and it is a dict: write `w.*`."),
        (("w.*",), {}, "`w` is empty: it must hold at least one tensor."),
        (("w.*",), {"a": torch.zeros(1), 1: torch.zeros(1)}, "key 1 of `w` is no text: give each tensor a name."),
        (("w.*",), {"": torch.zeros(1)}, "key '' of `w` is empty: give each tensor a name."),
        (("w.*",), {"a": [1.0]}, "`w['a']` is a list, not a tensor."),
        (("w.*",), [torch.zeros(1)], "`w` is a list, not a dictionary of tensors."),
        (("w",), 1.5, "`w` is a float, not a tensor."),
        (("w",), None, "`w` is not set."),
        (("w.sub.*",), {}, "`w.sub` is not set: only attributes of the method itself can be named."),
        ((".*",), {}, "the entry `.*` of `fitted` has no name: write 'NAME.*' for a dictionary of tensors."),
        ((7,), {}, "the entry 7 of `fitted` is no text: give names of attributes."),
        ("w", torch.zeros(2), "`fitted` is a text: write fitted = ('w',)."),
        ((), {}, "`fitted` names nothing: name the tensors that fit sets"),
    ],
)
def test_check_names_the_entry_that_is_wrong(entries: Any, value: Any, why: str) -> None:
    class Mine(Identity):
        spec = Identity.spec._replace(name="mine")
        fitted = entries

        def learn(self, *arguments: Any) -> None:
            self.w = value

        def to(self, device: Any) -> Any:
            return self

    [finding] = [finding for finding in check_method(Mine) if finding.check == "fit"]
    assert not finding.ok and finding.why.startswith(f"After fit, {why}")
    assert not Mine().is_fitted


@pytest.mark.parametrize("name", ["config", "save", "layers", "layers.", "other.0", "encoder.0", ".0", "notes", "*"])
def test_a_file_sets_no_other_attribute(name: str, tmp_path: Path) -> None:
    file = rewritten(fitted().save(tmp_path / "m.safetensors"), {name: torch.zeros(1)})
    with pytest.raises(UserError, match=r"contains the tensor .* which deep_decoder does not have"):
        DeepDecoder.load(file)


def test_a_file_without_one_of_the_entries_is_not_fitted(tmp_path: Path) -> None:
    file = fitted(layers=1).save(tmp_path / "m.safetensors")
    with pytest.raises(UserError, match="deep_decoder is not fitted"):
        DeepDecoder.load(rewritten(file, {"layers.0.weight": None}))


def test_fitted_may_be_set_for_the_settings(tmp_path: Path) -> None:
    class Chosen(DeepDecoder):
        spec = DeepDecoder.spec._replace(name="chosen")

        def __init__(self, config: Any = None) -> None:
            super().__init__(config)
            self.fitted = (*DeepDecoder.fitted, *(["offset"] if self.config.layers > 1 else []))  # type: ignore[misc]

        def learn(self, *arguments: Any) -> None:
            super().learn(*arguments)
            self.offset = torch.ones(1)

    site, tokens = small_layer()
    for layers in (1, 2):
        method = Chosen(DeepDecoderConfig(layers=layers)).fit(tokens, site)
        loaded = Chosen.load(method.save(tmp_path / f"{layers}.safetensors"))
        assert hasattr(loaded, "offset") == (layers > 1)
    # A file of one setting has no place in another.
    header = json.dumps(
        {"method": "chosen", "config": {"layers": 1, "n_units": 6}, "extra": {}, "notes": []}, sort_keys=True
    )
    save_file(method.fitted_tensors(), tmp_path / "mixed.safetensors", metadata={"harness": header})
    with pytest.raises(UserError, match="'offset', which chosen does not have"):
        Chosen.load(tmp_path / "mixed.safetensors")


def test_files_of_earlier_versions_load(tmp_path: Path) -> None:
    header = json.dumps({"method": "identity", "config": {}, "extra": {}, "notes": ["kept"]})
    save_file({"width": torch.tensor(8)}, tmp_path / "old.safetensors", metadata={"harness": header})
    method: Method = Identity.load(tmp_path / "old.safetensors")
    assert method.n_units == 8 and method.notes == ["kept"]
