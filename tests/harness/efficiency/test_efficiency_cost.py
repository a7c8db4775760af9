"""Counted work and sizes against closed forms, and against the speed that the paper printed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from in_memory import small_layer
from tiny_networks import DEPTH, PATCH, D, T, split_of, topk
from variants import SHORT, built_in

import methods
from harness import backbones
from harness.check.methods import small_settings
from harness.efficiency.cost import (
    backbone_macs,
    decode_macs,
    encode_macs,
    extra_macs,
    network_macs,
    size_of,
    size_of_backbone,
)
from harness.efficiency.integration import MATERIALISED, modes_of
from methods.base import Method, make_config
from methods.dictionaries.random_dictionary import RandomDictionary
from methods.grouped import SubUnits
from methods.identity import Identity
from methods.python_object.object_method import object_method
from methods.random_split import RandomSplit
from methods.sae.method import LinearSAE
from methods.sae.topk import TopKSAE
from results.published.tables import published_table


def test_multiply_accumulates_of_a_vit_are_the_closed_form() -> None:
    """Patches, then a block's qkv, projection, two layers of 4 D, and attention's two products."""
    block = T * D * 3 * D + T * D * D + 2 * T * D * 4 * D + 2 * T * T * D
    assert backbone_macs(backbones.load("tiny_vit")) == 16 * PATCH * D + DEPTH * block


def test_multiply_accumulates_of_methods_are_the_closed_forms() -> None:
    backbone = backbones.load("tiny_cnn")
    split, sae = split_of(backbone, "mix"), topk(20, 12)
    assert [extra_macs(split, 8, 12, mode).value for mode in modes_of(split)] == [0, 36 * 8 - 8 * 12, 36 * 8]
    assert extra_macs(sae, 8, 12) == (20 * 12 + 20 * 12, "analytic")
    assert extra_macs(Identity(), 8, 12).value == 0
    assert modes_of(sae) == ("",)


def test_a_vit_small_14_at_224_px_has_6_point_12_giga_products_and_21_point_6_million_weights() -> None:
    """By hand: 257 tokens of 384; a block is 12 T d^2 + 2 T^2 d products and 12 d^2 + 15 d weights."""
    tokens, d, patch = 257, 384, 3 * 14 * 14
    products = 256 * patch * d + 12 * (12 * tokens * d * d + 2 * tokens * tokens * d)
    weights = (patch * d + d) + d + tokens * d + 12 * (12 * d * d + 15 * d) + 2 * d
    backbone = backbones.load("timm:vit_small_patch14_dinov2", weights=False)
    assert backbone_macs(backbone) == products == 6_123_561_984
    assert size_of_backbone(backbone) == (weights, 4 * weights) == (21_628_800, 86_515_200)


def test_the_papers_added_times_are_these_added_products() -> None:
    """Table 5: milliseconds beyond the backbone's, over products beyond its own, are one speed for three methods.

    Batches of 256 images of 257 tokens; the transcoder's row fits 24,576 units and not 6,144.
    """

    def linear(reads: int, units: int) -> LinearSAE:
        method = TopKSAE(make_config(TopKSAE, {}))
        method.encoder_weight, method.atoms = (torch.empty(units, width, device="meta") for width in (reads, 768))
        return method

    split = RandomSplit(make_config(RandomSplit, {}))
    split.weights = torch.empty(6144, 3072, device="meta")
    split.parent = torch.empty(6144, device="meta")
    for name in ("biases", "width"):
        setattr(split, name, torch.empty(0, device="meta"))
    printed = published_table(5).set_index("method")["ms_per_batch"]

    def speed(method: Method, row: str, mode: str = "") -> float:
        products = extra_macs(method, 3072, 768, mode).value * 256 * 257
        return products / (printed[row] - printed["backbone only"])

    found = [
        speed(linear(768, 6144), "vanilla SAE"),
        speed(linear(3072, 24576), "transcoder"),
        speed(split, "ELUDe", MATERIALISED),
    ]
    assert max(found) / min(found) < 1.15
    assert speed(linear(3072, 6144), "transcoder") < 0.3 * min(found)
    # The backbone's own 23.16 G an image run at about the same speed.
    assert 23.16e9 * 256 / printed["backbone only"] == pytest.approx(found[0], rel=0.15)


def test_what_is_counted_as_it_runs_equals_the_closed_form() -> None:
    class Unknown(RandomDictionary):
        spec = RandomDictionary.spec._replace(name="unknown")

    found: list[Method] = [RandomDictionary(), Unknown()]
    for method in found:
        method.atoms, method.output_bias = torch.randn(9, 5), torch.zeros(5)  # type: ignore[attr-defined]
        method.gain = torch.tensor(1.0)  # type: ignore[attr-defined]
    known, counted = (extra_macs(method, 7, 5) for method in found)
    assert (known.how, counted.how) == ("analytic", "counted")
    assert known.value == counted.value == 2 * 9 * 5


def test_sizes_are_those_of_the_layer() -> None:
    backbone = backbones.load("tiny_cnn")
    # d_in 8, 12 neurons, 3 sub-units each: 36 rows of weights and a bias each.
    assert size_of(split_of(backbone, "mix")) == (36 * 9, 4 * 36 * 9)
    assert size_of(topk(20, 12)) == (2 * 20 * 12 + 20 + 12, 4 * (2 * 20 * 12 + 20 + 12))
    parameters = (8 * PATCH + 8) + (12 * 8 + 12) + (5 * 12 + 5)
    assert size_of_backbone(backbone) == (parameters, 4 * parameters)


def test_reading_the_codes_of_each_method_costs_its_products_by_hand() -> None:
    """Products of 16 inputs, 6 outputs and n units; codes of a split are read beside the layer's own product."""
    site, tokens = small_layer()
    d_in, d_out = site.d_in, site.d_out
    per_token: dict[str, float] = {}
    for name in built_in():
        cls = methods.METHODS.get(name)
        spec, fields = cls.spec, cls.Config.model_fields
        settings = small_settings(cls) | {key: value for key, value in SHORT.items() if key in fields}
        method = methods.create(name, **settings).fit(tokens, site, seed=1)
        n, read = method.n_units, d_in if spec.reads == "input" else d_out
        encode, decode = encode_macs(method, d_in, d_out), decode_macs(method, d_in, d_out)
        per_token[name] = encode.value
        by_hand: dict[str, float] = {
            "identity": 0,
            "matching_pursuit_sae": n * d_out + (method.config.k - 1) * n if name == "matching_pursuit_sae" else 0,
            # The layer's own product, the same of absolute values, and one product with each centroid.
            "pure": 2 * d_out * d_in + n * d_in,
            # The projection on the atoms, and one product with the Gram matrix in each step.
            "nmf": n * d_out + method.config.encode_iterations * n * n if name == "nmf" else 0,
            # In each step a row of the Gram matrix for each unit chosen so far.
            "omp_sae": n * d_out + n * sum(range(method.config.k)) if name == "omp_sae" else 0,
        }
        assert encode.value == by_hand.get(name, n * read), name
        unchanged = spec.virtual or name in ("elude", "random_split", "identity")
        # Sums of sub-units are additions; every other decoder is one product with the atoms.
        written = 0 if isinstance(method, SubUnits) else n * d_out
        # And a skip is one with the input.
        written += d_in * d_out if name == "skip_transcoder" else 0
        assert network_macs(method, encode, decode) == (0 if unchanged else encode.value + written), name
        if encode.how == decode.how == "analytic" and not spec.virtual:
            assert network_macs(method, encode, decode) == extra_macs(method, d_in, d_out).value, name
    assert per_token["elude"] > 0 and per_token["random_split"] > 0


def test_products_that_are_made_once_per_batch_are_not_counted_per_token() -> None:
    """Semi-NMF forms the Gram matrix of its atoms in each call, which a batch of eight tokens would seem to pay."""

    class OncePerBatch(RandomDictionary):
        spec = RandomDictionary.spec._replace(name="once_per_batch")

        def encode(self, x: torch.Tensor) -> torch.Tensor:
            return x @ (self.atoms.T @ (self.atoms @ self.atoms.T))

    method = OncePerBatch()
    method.atoms, method.output_bias, method.gain = torch.randn(9, 5), torch.zeros(5), torch.tensor(1.0)
    assert encode_macs(method, 7, 5) == (9 * 5, "counted")


def test_products_outside_of_torch_are_not_counted_as_none() -> None:
    class NumPy:
        def encode(self, x: torch.Tensor) -> np.ndarray:
            return x.numpy() @ np.eye(D)

        def decode(self, codes: torch.Tensor) -> np.ndarray:
            return codes.numpy() @ np.eye(D)

    method = object_method(NumPy(), width=D)()
    method.atoms = torch.eye(D)
    for macs in (encode_macs(method, D, D), decode_macs(method, D, D)):
        assert math.isnan(macs.value) and macs.how == "not counted: no product of tensors was seen"
