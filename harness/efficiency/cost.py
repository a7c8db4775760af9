"""Multiply-accumulates, parameters and bytes of a method, mostly computed from shapes.

Only products of matrices, convolutions and attention count, as is usual: additions, selections and sorting do not.
Multiply-accumulates per token, for n units::

    linear encoder (SAEs, transcoder, ICA)      n d_read + n d_out, in addition to the layer's d_in d_out
    atoms that encode and decode                2 n d_out
    matching pursuit, k steps with Gram matrix  n d_out + (k - 1) n + n d_out
    orthogonal matching pursuit, the same       n d_out + k (k - 1) / 2 n + n d_out
    split, unedited                             d_in d_out, nothing else
    split, materialised                         n d_in instead of d_in d_out
    split, all sub-units read                   d_in d_out + n d_in

:func:`encode_macs` and :func:`decode_macs` are of encode and of decode alone, whatever the network runs: reading the
codes of a split costs ``n d_in``, although the unedited split adds nothing to the network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from harness.backbones.base import Backbone
from harness.efficiency.integration import ALL_UNITS, MATERIALISED
from methods.additive import AdditiveSplit
from methods.base import Method
from methods.dictionaries.base import LinearDictionary
from methods.grouped import LinearSubUnits
from methods.identity import Identity
from methods.linear_decoder import LinearDecoder
from methods.registry import is_built_in
from methods.sae.matching_pursuit import MatchingPursuitSAE
from methods.sae.method import LinearSAE
from methods.sae.omp import OrthogonalPursuitSAE

#: Number of random tokens on which products are counted if there is no formula for a method.
COUNTED_TOKENS = 8

#: Dictionaries whose encoder is one product with a matrix of the shape of the atoms.
_LINEAR_ENCODERS = ("pca", "ica", "random_dictionary", "kmeans")


class Macs(NamedTuple):
    """Multiply-accumulates per token that a method needs in addition to the layer's."""

    value: float
    how: str
    """source of the value: "analytic" (computed from shapes), or "counted" (products counted during a run)"""


def extra_macs(method: Method, d_in: int, d_out: int, mode: str = "") -> Macs:
    """Return the multiply-accumulates per token in addition to the layer's ``d_in * d_out``.

    The module docstring has the formulas. Products of other methods are counted while they encode and decode random
    tokens. ``mode`` is the mode of running a split (:func:`harness.efficiency.integration.modes_of`).
    """
    method = method.implementation
    if isinstance(method, Identity):
        return Macs(0, "analytic")
    if isinstance(method, AdditiveSplit):
        product = method.n_units * d_in
        extra = {MATERIALISED: product - d_in * d_out, ALL_UNITS: product}
        return Macs(extra.get(mode, 0), "analytic")
    if isinstance(method, LinearSAE):
        return Macs(method.encoder_weight.numel() + method.atoms.numel(), "analytic")
    if isinstance(method, MatchingPursuitSAE) and (steps := _pursuit_steps(method)) is not None:
        return Macs(2 * method.atoms.numel() + steps * method.n_units, "analytic")
    if isinstance(method, LinearDictionary) and method.spec.name in _LINEAR_ENCODERS:
        return Macs(2 * method.atoms.numel(), "analytic")
    return Macs(_counted(method, d_in, d_out), "counted")


def encode_macs(method: Method, d_in: int, d_out: int) -> Macs:
    """Return the multiply-accumulates per token of reading the codes of all units, beside those of the network.

    The layer's own product is the network's, so the unmodified layer's units cost nothing. Products of methods without
    a formula are counted: see :func:`_counted_per_token`.
    """
    method = method.implementation
    if isinstance(method, Identity):
        return Macs(0, "analytic")
    if isinstance(method, LinearSubUnits):
        return Macs(method.weights.numel(), "analytic")
    if isinstance(method, LinearSAE):
        return Macs(method.encoder_weight.numel(), "analytic")
    if isinstance(method, MatchingPursuitSAE) and (steps := _pursuit_steps(method)) is not None:
        return Macs(method.atoms.numel() + steps * method.n_units, "analytic")
    if isinstance(method, LinearDictionary) and method.spec.name in _LINEAR_ENCODERS:
        return Macs(method.atoms.numel(), "analytic")
    return _counted_macs(method, _counted_per_token(method.encode, _random_tokens(method, d_in, d_out)))


def _pursuit_steps(method: MatchingPursuitSAE) -> int | None:
    """Return how often a pursuit subtracts a row of the Gram matrix from the correlations; None if not known."""
    # By type, since a subclass may take other steps.
    if type(method) is MatchingPursuitSAE:
        return int(method.config.k) - 1
    if type(method) is OrthogonalPursuitSAE:
        # All rows again in each step, because all codes change.
        return int(method.config.k * (method.config.k - 1) // 2)
    return None


def decode_macs(method: Method, d_in: int, d_out: int) -> Macs:
    """Return the multiply-accumulates per token of ``decode``; sums of codes are additions, which do not count."""
    method = method.implementation
    # A decoder that reads the input makes products with it as well.
    if isinstance(method, LinearDecoder) and not method.decode_reads_input:
        return Macs(method.atoms.numel(), "analytic")
    if isinstance(method, Identity | AdditiveSplit):
        return Macs(0, "analytic")
    with torch.no_grad():
        rows = _random_tokens(method, d_in, d_out)
        codes = method.encode(rows)
    return _counted_macs(method, _counted_per_token(lambda part: method.reconstruct(part, rows[: len(part)]), codes))


def _counted_macs(method: Method, value: float) -> Macs:
    """Return a counted number; NaN for code of others without any product, which may compute outside of torch."""
    if value == 0 and not is_built_in(type(method)):
        return Macs(math.nan, "not counted: no product of tensors was seen")
    return Macs(value, "counted")


def network_macs(method: Method, encode: Macs, decode: Macs) -> float:
    """Return the multiply-accumulates per token that the network runs in addition, with the method and no unit edited.

    Virtual methods pass the layer's output through, and an unedited split is the original product: both add nothing.
    """
    unchanged = method.spec.virtual or isinstance(method, AdditiveSplit)
    return 0.0 if unchanged else encode.value + decode.value


def _random_tokens(method: Method, d_in: int, d_out: int) -> Tensor:
    """Return normal rows (2 * COUNTED_TOKENS, width) on the method's device."""
    width = d_in if method.spec.reads == "input" else d_out
    rows = torch.randn(2 * COUNTED_TOKENS, width, generator=torch.Generator().manual_seed(0))
    return rows.to(_device_of(method))


def _device_of(method: Method) -> torch.device:
    return next((tensor.device for tensor in method.fitted_tensors().values()), torch.device("cpu"))


def _counted_per_token(step: Callable[[Tensor], object], rows: Tensor) -> float:
    """Return the multiply-accumulates that each further row costs: of all rows, less those of half of them.

    Products that are computed once per batch, whatever its size, cancel.
    """
    half = len(rows) // 2
    # What a fit computes at its first call and keeps.
    with torch.no_grad():
        step(rows)
    return (_macs_of(lambda: step(rows)) - _macs_of(lambda: step(rows[:half]))) / (len(rows) - half)


def _counted(method: Method, d_in: int, d_out: int) -> float:
    """Return the multiply-accumulates per token, counted while the method encodes and decodes random tokens."""
    width = d_in if method.spec.reads == "input" else d_out
    rows = torch.randn(COUNTED_TOKENS, width, generator=torch.Generator().manual_seed(0)).to(_device_of(method))
    return _macs_of(lambda: method.reconstruct(method.encode(rows), rows)) / COUNTED_TOKENS


def _macs_of(run: Callable[[], object]) -> float:
    """Return the multiply-accumulates of a run."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops()) / 2


def backbone_macs(backbone: Backbone) -> int:
    """Return the multiply-accumulates per image of the unmodified network, counted during a run on a blank image."""
    size = backbone.preprocessing.size
    blank = torch.zeros(1, 3, size, size, device=backbone.device)
    # Fused attention on a CPU is not counted; the math backend computes it as two products, which are.
    with sdpa_kernel(SDPBackend.MATH):
        return int(_macs_of(lambda: backbone.features(blank)))


class Size(NamedTuple):
    """Size of weights: of a method, in addition to the network's, or of a network."""

    parameters: int
    bytes: int

    @classmethod
    def of(cls, tensors: Iterable[Tensor]) -> Size:
        sizes = [(tensor.numel(), tensor.element_size()) for tensor in tensors]
        return cls(sum(numel for numel, _ in sizes), sum(numel * width for numel, width in sizes))


def size_of(method: Method) -> Size:
    """Return the size of the tensors that encode and decode use; for a split, of its sub-units' weights and biases."""
    tensors = [method.weights, method.biases] if isinstance(method, AdditiveSplit) else method.fitted_tensors().values()
    return Size.of(tensor for tensor in tensors if tensor.is_floating_point())


def size_of_backbone(backbone: Backbone) -> Size:
    """Return the size of the unmodified network."""
    return Size.of(backbone.model.parameters())
