"""Intervention on the units of a layer: some activations are scaled at some tokens, and the rest is unchanged.

The layer's output becomes ``a + decode(codes') - decode(codes)``, so that what a method does not reconstruct stays in
the network (its error term), and an edit of nothing is the identity to the bit. A split edits the layer itself: each
edited sub-unit adds ``(factor - 1) (w_i q + b_i)`` to its neuron, as in :mod:`methods.disentangled`. A unit is edited
at the tokens where it is most active, as in the ELUDe paper, App. C.3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from harness.errors import UserError
from harness.identity import seed_of
from methods import METHODS
from methods.additive import AdditiveSplit
from methods.base import Method
from methods.patch_choice import strongest
from methods.plugin_calls import calling

#: Largest factor of an activation.
LARGEST_FACTOR = 1e6


class Edit(NamedTuple):
    """Factors of the activations of some units."""

    units: Tensor
    """(m,) int64, each once"""
    factors: Tensor
    """(m,) float32"""
    patches: int | None = None
    """number of tokens per unit and image at which the unit is most active; None: all"""
    prefix: bool = False
    """also edit CLS and register tokens, which are no patches"""


class Intervened(NamedTuple):
    """Output of a layer after an intervention."""

    output: Tensor
    """(B, T, d_out)"""
    activations: Tensor
    """(B, T, m) of the edited units before the edit"""
    touched: Tensor
    """(B, T, m) bool: the tokens at which each unit was edited"""


def edit_of(
    amplify: list[int], suppress: list[int], *, alpha: float, gamma: float, patches: int | None, prefix: bool = False
) -> Edit:
    """Return the edit that scales units of one set by alpha and of the other by gamma; a unit in both is amplified.

    Raises:
        UserError: if alpha or gamma is not a finite number.
    """
    for name, value in (("alpha", alpha), ("gamma", gamma)):
        if not math.isfinite(value) or abs(value) > LARGEST_FACTOR:
            raise UserError(
                f"{name} = {value}: give a factor of the activations between -1e6 and 1e6, such as 5 or -50."
            )
    factors = dict.fromkeys(suppress, gamma) | dict.fromkeys(amplify, alpha)
    units = sorted(factors)
    return Edit(
        torch.tensor(units, dtype=torch.int64),
        torch.tensor([float(factors[unit]) for unit in units], dtype=torch.float32),
        patches,
        prefix,
    )


def require_editable(method: Method) -> None:
    """Check that the units of a method act on the network.

    Raises:
        UserError: if they do not.
    """
    if method.spec.virtual:
        raise UserError(
            f"{method.spec.name} cannot be steered: its units are virtual, the network computes without them, so an "
            "edit of them would change nothing. Choose a method whose decoder replaces the layer's output."
        )


def intervened(method: Method, edit: Edit, q: Tensor, a: Tensor, positions: Tensor) -> Intervened:
    """Return the layer's output with some units edited.

    Args:
        method: fitted method of the layer.
        edit: units, their factors, and the number of tokens.
        q: (B, T, d_in) input of the layer. Only methods that read the input use it.
        a: (B, T, d_out) output of the layer.
        positions: (T,) position of each token in the grid, negative for CLS and registers.

    Raises:
        UserError: if the method is virtual, a unit does not exist, or the method fails or returns other shapes.
    """
    require_editable(method)
    units = edit.units.to(a.device)
    if len(units) and not 0 <= int(units.min()) <= int(units.max()) < method.n_units:
        wrong = int(units.max()) if int(units.min()) >= 0 else int(units.min())
        raise UserError(f"{method.spec.name} has no unit {wrong}: it has {method.n_units}, numbered from 0.")
    if not len(units):
        none = a.new_zeros((*a.shape[:2], 0))
        return Intervened(a, none, none.bool())
    eligible = None if edit.prefix else positions.to(a.device) >= 0
    if eligible is not None and not bool(eligible.any()):
        raise UserError(
            f"The tokens of the layer have no place in the image (CLS or registers only), so {method.spec.name} has no "
            "patches to edit: choose a layer with patches."
        )
    x = q if method.spec.reads == "input" else a
    with calling(METHODS, method.spec.name):
        if isinstance(method, AdditiveSplit):
            return _of_split(method, edit, units, x, a, eligible)
        return _of_codes(method, edit, units, x, a, eligible)


def _of_split(
    method: AdditiveSplit, edit: Edit, units: Tensor, x: Tensor, a: Tensor, eligible: Tensor | None
) -> Intervened:
    weights, biases = method.weights.to(x)[units], method.biases.to(x)[units]
    activations = torch.nn.functional.linear(x, weights, biases)
    touched = strongest(activations, edit.patches, eligible)
    change = activations * (edit.factors.to(activations) - 1) * touched
    parents = method.parent.to(a.device)[units]
    output = a.index_add(-1, parents, change.to(a.dtype))
    return Intervened(_checked(method, "decode", output, tuple(a.shape)), activations, touched)


def _of_codes(method: Method, edit: Edit, units: Tensor, x: Tensor, a: Tensor, eligible: Tensor | None) -> Intervened:
    rows = x.flatten(0, 1)
    codes = _checked(method, "encode", method.encode(rows), (len(rows), method.n_units))
    activations = codes[:, units].unflatten(0, x.shape[:2])
    touched = strongest(activations, edit.patches, eligible)
    change = torch.zeros_like(codes)
    change[:, units] = (activations * (edit.factors.to(activations) - 1) * touched).flatten(0, 1)
    difference = _decoded_change(method, codes, change, rows, a).unflatten(0, a.shape[:2])
    # Tokens without a change keep the output to the bit: adding 0 would turn -0 into 0.
    output = torch.where((change != 0).any(1).unflatten(0, a.shape[:2])[..., None], a + difference, a)
    return Intervened(output, activations, touched)


def random_change(
    method: Method, edit: Edit, q: Tensor, a: Tensor, positions: Tensor, images: Sequence[int], seed: int
) -> Tensor:
    """Return the change (B, T, d_out) of the output by as many random units as an edit has, each active on the image.

    They are drawn anew for each image, from its other units that are positive on an eligible token, and get the factors
    of the edit, at the tokens where they are most active.

    Args:
        method: fitted method of the layer.
        edit: the edit that the random units stand in for.
        q: (B, T, d_in) input of the layer.
        a: (B, T, d_out) output of the layer.
        positions: (T,) position of each token in the grid.
        images: number of each image (B), which determines its draw together with the seed.
        seed: random seed.

    Raises:
        UserError: as :func:`intervened`.
    """
    require_editable(method)
    x = q if method.spec.reads == "input" else a
    rows = x.flatten(0, 1)
    with calling(METHODS, method.spec.name):
        codes = _checked(method, "encode", method.encode(rows), (len(rows), method.n_units)).unflatten(0, x.shape[:2])
    eligible = (torch.ones_like(positions, dtype=torch.bool) if edit.prefix else positions >= 0).to(a.device)
    active = (codes[:, eligible] > 0).any(1)
    active[:, edit.units.to(a.device)] = False
    change = torch.zeros_like(codes)
    for row, image in enumerate(images):
        candidates = active[row].nonzero()[:, 0].cpu()
        generator = torch.Generator().manual_seed(seed_of("random units", seed, int(image)))
        n = min(len(edit.units), len(candidates))
        units = candidates[torch.randperm(len(candidates), generator=generator)[:n]].to(a.device)
        factors = edit.factors[torch.randperm(len(edit.factors), generator=generator)[:n]].to(codes)
        activations = codes[row][:, units]
        change[row, :, units] = activations * (factors - 1) * strongest(activations, edit.patches, eligible)
    with calling(METHODS, method.spec.name):
        decoded = _decoded_change(method, codes.flatten(0, 1), change.flatten(0, 1), rows, a)
    return decoded.reshape(a.shape)


def image_norms(change: Tensor) -> Tensor:
    """Return the norm (B,) of each image's tokens, for outputs (B, T, d) or their changes."""
    norm: Tensor = change.float().flatten(1).norm(dim=1)
    return norm


def _decoded_change(method: Method, codes: Tensor, change: Tensor, x: Tensor, a: Tensor) -> Tensor:
    """Return the change (n, d_out) of the output for a change (n, n_units) of the codes."""
    width = a.shape[-1]
    if isinstance(method, AdditiveSplit):
        summed: Tensor = method.summed(change, width).to(a.dtype)
        return summed
    result = a.new_zeros(len(codes), width)
    changed = (change != 0).any(1).nonzero()[:, 0]
    if len(changed):
        size = (len(changed), width)
        before = codes[changed]
        after = _checked(method, "decode", method.reconstruct(before + change[changed], x[changed]), size)
        difference = after - _checked(method, "decode", method.reconstruct(before, x[changed]), size)
        result[changed] = difference.to(a.dtype)
    return result


def _checked(method: Method, call: str, result: Tensor, shape: tuple[int, ...]) -> Tensor:
    if not isinstance(result, Tensor) or tuple(result.shape) != shape:
        what = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
        raise UserError(f"{method.spec.name}.{call} returns {what}; it must return a tensor of the shape {shape}.")
    if not bool(torch.isfinite(result).all()):
        raise UserError(f"{method.spec.name}.{call} returns NaN or infinity: the edit is too large or the fit failed.")
    return result
