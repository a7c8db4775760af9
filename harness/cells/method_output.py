"""Calls of a fitted method during the evaluation pass, with a check of what they return and leave unchanged.

A method that breaks its contract here would give wrong numbers without an error: each check makes it a failed cell with
a sentence instead. Method classes of plugins are checked further on the first batch (:func:`require_independent_rows`)
and when they are saved (:func:`require_saved`); built-in methods are covered by their tests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.activations.forward import Passes
from harness.activations.site import Site
from harness.errors import UserError, first_line
from methods.base import Dictionary, Method
from methods.process_state import restored
from methods.registry import is_built_in
from methods.requirements import is_finite

#: Rows of the first batch that are encoded again by themselves.
PROBED_ROWS = 7
#: Allowed difference between the codes of a row in two batches, as a fraction of the largest code of the batch.
ROUNDING = 1e-3
#: Largest fraction of the probed codes that may differ more: near ties, a selection may choose another unit.
TIES = 0.05


class MethodCalls:
    """``encode`` and ``decode`` of a fitted method, as the evaluation pass calls them."""

    def __init__(self, method: Method, passes: Passes, changes: list[str]) -> None:
        self.method, self.passes = method, passes
        self.changes = changes
        """receives the settings of the process that the calls changed; they are restored"""
        self.name = method.spec.name
        self.n_units = _n_units(method)
        self._is_built_in = is_built_in(type(method))
        self._is_first = True
        self._previous: Tensor | None = None
        """codes of the call before, for a plugin's method: kept, so that their address is not used again"""
        self._dictionary: tuple[Any, ...] | None = None

    def has_dictionary(self) -> bool:
        """Return False for a decoder that is not linear, which has no atoms."""
        with restored(self.changes, brief=True), torch.inference_mode():
            return self.method.dictionary() is not None

    def encode(self, x: Tensor) -> Tensor:
        """Return the codes (n, n_units) of x (n, d).

        Raises:
            UserError: if they are not finite floating-point numbers of that shape, dtype and device, if they share
                memory with those of the call before, or if ``x`` was changed.
        """
        given = x.clone()
        with restored(self.changes, brief=True):
            codes = self.method.encode(given)
        self._require_like(codes, x, "encode", (len(x), self.n_units))
        if not is_finite(codes):
            raise UserError(f"{self.name} encodes NaN or infinity: its fit has failed.")
        if not torch.equal(given, x) and not torch.equal(given.nan_to_num(), x.nan_to_num()):
            raise UserError(f"{self.name}.encode changes its input in place: let it work on a copy (x = x.clone()).")
        if self._is_first:
            self._is_first = False
            self._dictionary = self._checked_dictionary()
            if not self._is_built_in:
                require_independent_rows(self.method, x, codes)
        # An address of 0 is that of a tensor without elements, or on a device that tells no addresses.
        if self._previous is not None and codes.data_ptr() and codes.data_ptr() == self._previous.data_ptr():
            raise UserError(
                f"{self.name}.encode returns the same memory at each call, so earlier codes are overwritten: return a "
                "new tensor."
            )
        if not self._is_built_in:
            self._previous = codes
        return codes

    def decode(self, codes: Tensor, x: Tensor, *, first: bool) -> Tensor:
        """Return the reconstruction (n, d_out) of codes (n, n_units) of x (n, d).

        Raises:
            UserError: as :meth:`encode`; the codes are compared with a copy for the ``first`` batch only.
        """
        before = codes.clone() if first else codes
        with restored(self.changes, brief=True):
            a_hat = self.method.reconstruct(codes, x)
        if first and not torch.equal(before, codes):
            raise UserError(f"{self.name}.decode changes the codes it is given: let it work on a copy.")
        self._require_like(a_hat, codes, "decode", (len(codes), self.passes.site.d_out))
        if not is_finite(a_hat):
            raise UserError(f"{self.name} reconstructs NaN or infinity: its fit has failed.")
        return a_hat

    def decode_without_units(self, codes: Tensor, x: Tensor) -> Tensor:
        """Return what ``decode`` reconstructs (n, d_out) for codes of 0, from x (n, d) alone; it may not be finite.

        Raises:
            UserError: if it is no tensor of that shape, or of another dtype or device.
        """
        with restored(self.changes, brief=True):
            a_hat = self.method.reconstruct(torch.zeros_like(codes), x)
        self._require_like(a_hat, codes, "decode", (len(codes), self.passes.site.d_out))
        return a_hat

    def require_same_dictionary(self) -> None:
        """Raise UserError if the dictionary is not that of the start of the pass."""
        if self._dictionary is not None and self._checked_dictionary() != self._dictionary:
            raise UserError(
                f"{self.name}.dictionary() returns other atoms or parents than at the start of the evaluation: encode, "
                "decode and dictionary must not change the fitted method."
            )

    def _require_like(self, output: Any, given: Tensor, call: str, shape: tuple[int, ...]) -> None:
        problem = output_problem(output, given, shape)
        if problem:
            raise UserError(f"{self.name}.{call} returns {problem}")

    def _checked_dictionary(self) -> tuple[Any, ...]:
        """Return sums over the dictionary, by which a change of it is noticed."""
        with restored(self.changes, brief=True), torch.inference_mode():
            dictionary: Any = self.method.dictionary()
        if dictionary is None:
            return ()
        problem = dictionary_type_problem(dictionary)
        if problem:
            raise UserError(f"{self.name}.dictionary() returns {problem}")
        atoms, parents, side = dictionary
        problem = dictionary_problem(atoms, parents, side, self.n_units, self.passes.site)
        if problem:
            raise UserError(f"{self.name}.dictionary() returns {problem}")
        sums = (float(atoms.sum(dtype=torch.float64)), float(atoms.abs().sum(dtype=torch.float64)))
        return (
            side,
            *map(str, sums),
            None if parents is None else int((parents.cpu() * torch.arange(len(parents))).sum()),
        )


def output_problem(output: Any, given: Tensor, shape: tuple[int, ...]) -> str:
    """Return what is wrong with the tensor that ``encode`` or ``decode`` returned for ``given``; empty if nothing is.

    The text completes the sentence "encode returns ...".
    """
    if not isinstance(output, Tensor):
        return f"a {type(output).__name__}; it must return a torch.Tensor."
    if output.layout != torch.strided:
        return f"a tensor of the layout {output.layout}; it must be dense: use .to_dense()."
    if output.dtype != given.dtype:
        return f"{output.dtype} for input of {given.dtype}; it must keep the dtype of its input: use .to(x.dtype)."
    if output.device != given.device:
        return f"a tensor on {output.device} for input on {given.device}; it must keep the device of its input."
    if tuple(output.shape) != shape:
        return f"the shape {tuple(output.shape)}; it must be {shape}."
    if output.requires_grad:
        return "a tensor that requires gradients, which keeps the graph of every call: use .detach() in fit."
    return ""


def dictionary_type_problem(dictionary: Any) -> str:
    """Return what is wrong with the type of a dictionary that is not None; empty if nothing is."""
    if isinstance(dictionary, Dictionary):
        return ""
    return f"a {type(dictionary).__name__}; return Dictionary(atoms, parents, side) or None."


def dictionary_problem(atoms: Any, parents: Any, side: Any, n_units: int, site: Site) -> str:
    """Return what is wrong with a dictionary; empty if nothing is. It completes "dictionary() returns ..."."""
    if side not in ("reader", "writer"):
        return f"the side {side!r}; it must be 'reader' or 'writer'."
    expected = (n_units, site.d_in if side == "reader" else site.d_out)
    if not isinstance(atoms, Tensor) or atoms.layout != torch.strided or not atoms.is_floating_point():
        return f"atoms of the type {_type_of(atoms)}; they must be a dense tensor of floating-point numbers."
    if tuple(atoms.shape) != expected:
        return f"atoms {tuple(atoms.shape)}; with side {side!r} they must be {expected}."
    if parents is None:
        return ""
    if not isinstance(parents, Tensor) or parents.dtype != torch.int64:
        return f"parents of the type {_type_of(parents)}; they must be an int64 tensor: use .long()."
    if tuple(parents.shape) != expected[:1]:
        return f"parents with the shape {tuple(parents.shape)}; it must be {expected[:1]}, one parent per unit."
    outside = parents[(parents < 0) | (parents >= site.d_out)]
    if len(outside):
        return f"the parent {int(outside[0])}; parents are outputs of the layer, 0 to {site.d_out - 1}."
    return ""


def require_fit(method: Method, returned: Any) -> None:
    """Raise UserError unless ``fit`` has returned the method itself, fitted."""
    name = method.spec.name
    if returned is not method:
        raise UserError(f"{name}.fit returns a {type(returned).__name__}; it must return self.")
    method.require_fitted()


def require_independent_rows(method: Method, x: Tensor, codes: Tensor) -> None:
    """Check on a few rows that their codes depend neither on the batch nor on the calls before.

    Raises:
        UserError: if they do.
    """
    rows = torch.arange(0, len(x), max(1, len(x) // PROBED_ROWS), device=x.device)[:PROBED_ROWS]
    expected = codes[rows].clone()
    again = method.encode(x[rows].clone())
    problem = output_problem(again, x, tuple(expected.shape))
    if problem:
        raise UserError(f"{method.spec.name}.encode returns {problem}")
    scale = float(codes.abs().max()) or 1.0
    differ = ((again - expected).abs() > ROUNDING * scale).sum()
    nonzero = ((again != 0) | (expected != 0)).sum()
    if int(differ) > TIES * int(nonzero):
        raise UserError(
            f"The codes that {method.spec.name}.encode returns for a token change with the batch it is in, or from "
            "call to call: encode each row independently of the others and of earlier calls."
        )


def require_saved(method: Method, path: Path, x: Tensor | None, device: Any) -> None:
    """Check that ``save`` wrote the file that another cell can load.

    Raises:
        UserError: if the file is missing, is no safetensors file of this method, or gives other codes, outputs or atoms
            once loaded.
    """
    name = method.spec.name
    if not path.is_file():
        raise UserError(f"{name}.save did not write the file that it was given: write {path.name!r} and no other file.")
    # A fit that was made elsewhere is not loaded from here.
    if is_built_in(type(method)) or method.spec.fitted_elsewhere:
        return
    try:
        loaded = type(method).load(path, device=device)
        if x is None or _is_same(method, loaded, x):
            return
        problem = "gives other codes, outputs or atoms than the fitted one"
    except Exception as error:
        problem = f"cannot be loaded ({first_line(error)})"
    path.unlink()
    raise UserError(
        f"What {name}.save wrote {problem}: name every tensor that the method needs in `fitted`, return the other "
        "state in extra_state(), and write safetensors, never a pickle."
    )


def _is_same(method: Method, loaded: Method, x: Tensor) -> bool:
    with torch.inference_mode():
        codes = method.encode(x.clone())
        return (
            torch.equal(codes, loaded.encode(x.clone()))
            and torch.equal(method.reconstruct(codes.clone(), x), loaded.reconstruct(codes.clone(), x))
            and _same_atoms(method.dictionary(), loaded.dictionary())
        )


def _same_atoms(first: Dictionary | None, second: Dictionary | None) -> bool:
    if first is None or second is None:
        return first is second
    return torch.equal(first.atoms, second.atoms)


def _n_units(method: Method) -> int:
    n_units: Any = method.n_units
    if isinstance(n_units, bool) or not isinstance(n_units, int | np.integer) or n_units < 0:
        raise UserError(f"{method.spec.name}.n_units is a {type(n_units).__name__}; it must be a whole number from 0.")
    return int(n_units)


def _type_of(value: Any) -> str:
    return f"{value.dtype} ({value.layout})" if isinstance(value, Tensor) else type(value).__name__
