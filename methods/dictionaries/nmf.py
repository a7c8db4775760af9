"""Semi-nonnegative matrix factorisation: non-negative codes, atoms of any sign."""

from __future__ import annotations

from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from pydantic import Field
from torch import Tensor

from methods import register
from methods.base import Device, LinearSite, MethodConfig, MethodSpec, Progress, Tokens
from methods.dictionaries.base import LinearDictionary, sample_tokens
from methods.half_precision import in_float32
from methods.number_types import Whole
from methods.training.normaliser import Normaliser


class NMFConfig(MethodConfig):
    """Settings of semi-NMF."""

    n_components: Whole | None = Field(None, ge=1, le=1_048_576, description="None: one per neuron")
    iterations: Whole = Field(100, ge=1, le=1_000_000, description="multiplicative updates of the fit")
    encode_iterations: Whole = Field(
        200, ge=1, le=1_000_000, description="steps of non-negative least squares for each code"
    )
    max_tokens: Whole = Field(
        8192, ge=2, le=1_000_000_000, description="largest number of tokens to fit on, drawn with the seed"
    )


@register
class SemiNMF(LinearDictionary):
    """``min |A - Z D|^2`` with Z >= 0 (Ding, Li and Jordan 2008), on centred tokens since activations are signed.

    The dictionary is learned by the overcomplete library. Codes are solved here: the library starts its codes from
    random numbers and applies its stopping rule per batch, so a token's codes would depend on the other tokens.
    """

    spec = MethodSpec(
        name="nmf",
        title="Semi-NMF",
        family="control",
        reads="output",
        reference="Ding, Li and Jordan 2008, Convex and semi-nonnegative matrix factorizations; overcomplete",
    )
    Config = NMFConfig

    def learn(self, tokens: Tokens, site: LinearSite, seed: int, device: Device, progress: Progress) -> None:
        from overcomplete.optimization import SemiNMF as Module

        config: NMFConfig = self.config
        normalise = Normaliser(tokens, "output")
        rows = normalise(sample_tokens(tokens, config.max_tokens, seed)).to(device)
        # The library draws its first codes from the device's global generator.
        with torch.random.fork_rng(devices=[rows.device] if rows.is_cuda else []):
            torch.manual_seed(seed)
            module = Module(config.n_components or site.d_out, device=str(device), tol=0.0)
            module.fit(rows, max_iter=config.iterations)
        self.atoms = (module.get_dictionary().detach() * normalise.scale).contiguous()
        self.output_bias = normalise.mean

    @in_float32
    def encode(self, x: Tensor) -> Tensor:
        self.require_fitted()
        gram = gram_of(self, x)
        return nonnegative_codes(x - self.output_bias.to(x), self.atoms.to(x), self.config.encode_iterations, gram)


class Gram(NamedTuple):
    """Products of the atoms with each other, and what their steps need: the same for all tokens."""

    matrix: Tensor
    """(n_units, n_units)"""
    largest: Tensor
    """() largest eigenvalue"""

    @classmethod
    def of(cls, atoms: Tensor) -> Gram:
        matrix = atoms @ atoms.T
        return cls(matrix, torch.linalg.eigvalsh(matrix.double().cpu())[-1].to(atoms).clamp_min(1e-12))


class _Kept(NamedTuple):
    atoms: Tensor
    version: int
    """number of changes in place that the atoms have had"""
    by_kind: dict[tuple[torch.dtype, torch.device], Gram]


# The decomposition takes .27 s at 768 units, much longer than the codes of a batch. It is not an attribute of a method:
# attributes are its state, which is copied and hashed.
_kept: WeakKeyDictionary[SemiNMF, _Kept] = WeakKeyDictionary()


def gram_of(method: SemiNMF, x: Tensor) -> Gram:
    """Return the products of a fit's atoms in the dtype and on the device of x, computed once for the same atoms."""
    atoms = method.atoms
    if atoms.is_inference():
        # Their changes in place are not counted.
        return Gram.of(atoms.to(x))
    kept = _kept.get(method)
    if kept is None or kept.atoms is not atoms or kept.version != atoms._version:
        kept = _kept[method] = _Kept(atoms, atoms._version, {})
    kind = x.dtype, x.device
    if kind not in kept.by_kind:
        kept.by_kind[kind] = Gram.of(atoms.to(x))
    return kept.by_kind[kind]


def nonnegative_codes(x: Tensor, atoms: Tensor, iterations: int, gram: Gram | None = None) -> Tensor:
    """Return ``argmin_{z >= 0} |x - z @ atoms|^2`` for each row of x (n, d), by a fixed number of FISTA steps.

    The steps start from zero. Source: Beck and Teboulle 2009. The steps of a row do not depend on the other rows.
    ``gram`` is that of the atoms, if it is known already.
    """
    products = x @ atoms.T
    matrix, largest = Gram.of(atoms) if gram is None else gram
    codes = torch.zeros_like(products)
    ahead, momentum = codes, 1.0
    for _ in range(iterations):
        following = torch.relu(ahead - (ahead @ matrix - products) / largest)
        next_momentum = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = following + (momentum - 1) / next_momentum * (following - codes)
        codes, momentum = following, next_momentum
    return codes
