"""Method of a Python object with ``encode`` and ``decode``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from methods.base import Device, Dictionary, Learner, LinearSite, MethodSpec, Progress, Tokens
from methods.errors import UserError, first_line
from methods.plugin_errors import type_and_text
from methods.python_object import MODULE
from methods.python_object.calls import ObjectCalls
from methods.value_hash import value_hash

#: Rows of normal numbers at each of these scales on which an object is tried.
_PROBED_ROWS = 64
_PROBED_SCALES = (0.01, 0.1, 1.0, 10.0, 100.0)
#: Most codes that are decoded at once: 64 MiB of float32.
_MOST_CODES = 1 << 24
#: Largest deviation of a decoder from an affine map, relative to its output; in roundings of its numbers, and at least.
_ROUNDINGS, _TOLERANCE = 8, 1e-3


class ObjectMethod(Learner):
    """Method whose codes and outputs are those of a Python object; subclasses are made by :func:`object_method`.

    The atoms are the changes of the decoded output if one code rises from 0 to 1. A decoder that is not affine in the
    codes has none.
    """

    calls: ClassVar[ObjectCalls]
    content: ClassVar[str]

    atoms: Tensor | None
    """(n_units, d_out); None for a decoder that is not affine"""
    unit_count: Tensor
    """number of units"""

    def fingerprint(self) -> str | None:
        return self.content

    def learn(self, tokens: Tokens, site: LinearSite, seed: int, device: Device, progress: Progress) -> None:
        self.notes = [f"The units are those of a Python object of the class {self.calls.name}, which is not saved."]
        self._adopt(device, site.d_out)

    def _adopt(self, device: Device, d_out: int | None = None) -> Self:
        """Take the tensors of the object, and decode its atoms."""
        self.calls.to(device)
        width = self.content_width
        rows = _probe_rows(width).to(device)
        with torch.no_grad():
            self.atoms = decoded_atoms(self.calls, rows, d_out)
            self.unit_count = torch.tensor(self.calls.encode(rows[:1]).shape[1])
        # A name of the object may be one of this class.
        tensors = {f"object.{name}": value for name, value in self.calls.tensors().items()}
        for name, value in tensors.items():
            # Copies, since safetensors refuses tensors that share memory.
            setattr(self, name, value.clone())
        self.fitted = tuple(tensors) or ("unit_count" if self.atoms is None else "atoms",)  # type: ignore[misc]
        return self

    #: Number of features that the object reads.
    content_width: ClassVar[int]

    def encode(self, x: Tensor) -> Tensor:
        return self.calls.encode(x)

    def decode(self, codes: Tensor, x: Tensor | None = None) -> Tensor:
        return self.calls.decode(codes, x)

    @property
    def decode_reads_input(self) -> bool:
        return self.calls.decode_reads_input

    def dictionary(self) -> Dictionary | None:
        self.require_fitted()
        return None if self.atoms is None else Dictionary(self.atoms, None, "writer")

    @property
    def n_units(self) -> int:
        self.require_fitted()
        return int(self.unit_count)

    @property
    def input_width(self) -> int | None:
        return self.content_width

    def to(self, device: Device) -> Self:
        self.calls.to(device)
        self.atoms = None if self.atoms is None else self.atoms.to(device)
        return super().to(device)

    @classmethod
    def from_header(cls, header: dict[str, Any], path: str | Path, *, device: Device = "cpu") -> Self:
        """Return the method of the object itself: a file holds its tensors, and not its code."""
        method = cls()._adopt(device)
        method.notes = list(header.get("notes", []))
        return method


def object_method(value: Any, *, width: int, title: str | None = None) -> type[ObjectMethod]:
    """Return the method class of an object with ``encode`` and ``decode``.

    Its name ends with a hash of the object: of the code of its class, of its attributes and of its tensors
    (:mod:`methods.value_hash`).

    Args:
        value: the object, see :class:`methods.python_object.calls.ObjectCalls`.
        width: number of features of the layer's output.
        title: display name; default: the name of the object's class.

    Raises:
        UserError: if it is no such object, or fails on rows of this width.
    """
    calls = ObjectCalls(value)
    _try(calls, width)
    # After the first calls, which may create state that is made when it is needed.
    content = _content(calls.value)
    _try(calls, width)
    if _content(calls.value) != content:
        raise UserError(
            f"{calls.name} changes its attributes whenever encode or decode is called, so codes may depend on earlier "
            "calls: leave counters and other state out of it."
        )
    spec = MethodSpec(
        name=f"{re.sub(r'[^A-Za-z0-9_]', '', calls.name).lstrip('_') or 'object'}.{content}",
        title=title or calls.name,
        family="sae",
        reads="output",
        reference="a Python object that was given to harness.evaluate",
        uses_seed=False,
        fitted_elsewhere=True,
    )
    attributes = {
        "__module__": MODULE,
        "spec": spec,
        "calls": calls,
        "content": content,
        "content_width": width,
    }
    return type("ObjectMethod", (ObjectMethod,), attributes)


def _content(value: Any) -> str:
    try:
        return value_hash(value)
    except UserError:
        raise
    except Exception as error:  # code of the object's author, or a tensor without values
        raise UserError(
            f"The content of the {type(value).__qualname__} cannot be read ({first_line(error)}), so it cannot be told "
            "from others: save its tensors as safetensors and give the file."
        ) from error


def _probe_rows(width: int) -> Tensor:
    rows = torch.randn(_PROBED_ROWS, width, generator=torch.Generator().manual_seed(0))
    return torch.cat([scale * rows for scale in _PROBED_SCALES])


def _try(calls: ObjectCalls, width: int) -> None:
    """Encode and decode fixed rows.

    Raises:
        UserError: if the object raises.
    """
    try:
        with torch.no_grad():
            rows = _probe_rows(width)
            calls.decode(calls.encode(rows), rows)
    except UserError:
        raise
    except Exception as error:  # code of the object's author
        is_shape = any(word in str(error).lower() for word in ("shape", "size", "dimension"))
        advice = f" Give the layer that it was trained on: the output of this one has {width} features."
        raise UserError(
            f"{calls.name} fails on rows (n, {width}) of the layer's output: {type_and_text(error).rstrip('.')}."
            f"{advice if is_shape else ''}"
        ) from error


def decoded_atoms(calls: ObjectCalls, rows: Tensor, d_out: int | None = None) -> Tensor | None:
    """Return the atoms (n_units, d_out): the change of the decoded output if one code rises from 0 to 1.

    None if the decoder is not affine in the codes, up to a factor per row where it reads the rows.

    Args:
        calls: the object.
        rows: (n, d) rows whose codes the decoder is tried on.
        d_out: width of the layer's output; None: not checked.

    Raises:
        UserError: if the decoder ignores the codes, returns NaN or infinity, or returns part of the rows whatever the
            codes are.
    """
    n_units = calls.encode(rows[:1]).shape[1]
    rows = rows[:: max(1, len(rows) * n_units // _MOST_CODES)]
    codes, n = calls.encode(rows), len(rows)
    first = rows[:1]

    def decoded(part: Tensor, x: Tensor) -> Tensor:
        output = calls.decode(part, x)
        if d_out is not None and output.shape[1] != d_out:
            raise UserError(
                f"{calls.name}.decode returns {output.shape[1]} features, and this layer's output has {d_out}: give "
                "the layer that it was trained on."
            )
        return output

    offset = decoded(rows.new_zeros(1, n_units), first)
    parts = []
    step = max(1, min(512, _MOST_CODES // n_units))
    for start in range(0, n_units, step):
        size = min(step, n_units - start)
        unit_codes = rows.new_zeros(size, n_units)
        unit_codes[torch.arange(size), torch.arange(start, start + size)] = 1
        parts.append(decoded(unit_codes, first.expand(size, -1)) - offset)
    atoms = torch.cat(parts)
    if not bool(torch.isfinite(atoms).all() and torch.isfinite(offset).all()):
        raise UserError(f"{calls.name}.decode returns NaN or infinity.")
    if not bool(atoms.any()) and torch.equal(decoded(codes, rows), decoded(torch.zeros_like(codes), rows)):
        raise UserError(f"{calls.name}.decode ignores the codes: each unit must change the output.")
    drawn = torch.rand(n, n_units, generator=torch.Generator().manual_seed(1)).to(rows)
    offsets = decoded(rows.new_zeros(n, n_units), rows)
    tolerance = max(
        _TOLERANCE, _ROUNDINGS * max((torch.finfo(each.dtype).eps for each in calls.tensors().values()), default=0)
    )
    _require_no_skip(calls, offsets, tolerance)
    for tried in (codes, -codes, drawn):
        change, expected = decoded(tried, rows) - offsets, tried @ atoms
        if calls.decode_reads_input:
            # A normalisation of each token scales what is decoded for it.
            expected = expected * _factor(change, expected)
        # Rounding is that of the largest terms, so rows of the largest scale decide for themselves alone.
        limit = tolerance * (expected.abs().amax(1) + offsets.abs().amax(1)).clamp_min(1e-12)
        if not bool(((change - expected).abs().amax(1) <= limit).all()):
            return None
    return atoms


def _factor(change: Tensor, expected: Tensor) -> Tensor:
    """Return the factor (n, 1) of each row of ``expected`` that is nearest to ``change``."""
    return (change * expected).sum(1, keepdim=True) / expected.square().sum(1, keepdim=True).clamp_min(1e-30)


def _require_no_skip(calls: ObjectCalls, offsets: Tensor, tolerance: float) -> None:
    """Refuse a decoder that passes the layer's output around the units.

    With all codes 0, a normalisation of each token leaves a combination of the decoder's bias and a constant.
    """
    if not calls.decode_reads_input:
        return
    scales = offsets.norm(dim=1, keepdim=True).clamp_min(1e-30)
    values = torch.linalg.svdvals((offsets / scales).double())
    if len(values) > 2 and values[2] > tolerance * values[0]:
        raise UserError(
            f"{calls.name}.decode returns part of what encode has read whatever the codes are, so its faithfulness "
            "would not be that of its units."
        )
