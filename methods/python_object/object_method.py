"""Method of a Python object with ``encode`` and ``decode``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from methods.base import Device, Dictionary, LinearSite, Method, MethodSpec, Progress, Tokens, no_progress
from methods.errors import UserError
from methods.python_object import MODULE
from methods.python_object.calls import ObjectCalls
from methods.value_hash import value_hash

#: Prefix of the name of a method that an object becomes, before the hash of its content.
NAME = "python_object"
#: Rows of normal numbers at each of these scales whose codes are part of the identity of an object.
_PROBED_ROWS = 64
_PROBED_SCALES = (0.1, 1.0, 10.0)
#: Units whose codes are decoded at once.
_CHUNK = 512
#: Largest deviation of a decoder from an affine map, relative to its output.
_TOLERANCE = 1e-3


class ObjectMethod(Method):
    """Method whose codes and outputs are those of a Python object; subclasses are made by :func:`object_method`.

    The atoms are the changes of the decoded output if one code rises from 0 to 1, so the decoder must be affine in the
    codes.
    """

    calls: ClassVar[ObjectCalls]
    content: ClassVar[str]

    atoms: Tensor
    """(n_units, d_out)"""

    def fingerprint(self) -> str | None:
        return self.content

    def fit(
        self,
        tokens: Tokens,
        site: LinearSite,
        *,
        seed: int = 42,
        device: Device = "cpu",
        progress: Progress = no_progress,
    ) -> Self:
        self.notes = [f"The units are those of a Python object of the class {self.calls.name}, which is not saved."]
        return self._adopt(device, site.d_out)

    def _adopt(self, device: Device, d_out: int | None = None) -> Self:
        """Take the tensors of the object, and decode its atoms."""
        self.calls.to(device)
        width = self.content_width
        rows = _probe_rows(width)[:2].to(device)
        with torch.no_grad():
            self.atoms = _atoms(self.calls, self.calls.encode(rows).shape[1], rows, d_out)
        # A name of the object may be one of this class.
        tensors = {f"object.{name}": value for name, value in self.calls.tensors().items()}
        for name, value in tensors.items():
            # Copies, since safetensors refuses tensors that share memory.
            setattr(self, name, value.clone())
        self.fitted = tuple(tensors) or ("atoms",)  # type: ignore[misc]
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

    def dictionary(self) -> Dictionary:
        self.require_fitted()
        return Dictionary(self.atoms, None, "writer")

    @property
    def n_units(self) -> int:
        self.require_fitted()
        return len(self.atoms)

    @property
    def input_width(self) -> int | None:
        return self.content_width

    def to(self, device: Device) -> Self:
        self.calls.to(device)
        self.atoms = self.atoms.to(device)
        return super().to(device)

    @classmethod
    def from_header(cls, header: dict[str, Any], path: str | Path, *, device: Device = "cpu") -> Self:
        """Return the method of the object itself: a file holds its tensors, and not its code."""
        method = cls()._adopt(device)
        method.notes = list(header.get("notes", []))
        return method


def object_method(value: Any, *, width: int, title: str | None = None) -> type[ObjectMethod]:
    """Return the method class of an object with ``encode`` and ``decode``.

    Its name ends with a hash of the object: of its class if that is defined in a notebook or script, its attributes and
    tensors, and of codes and outputs for fixed random rows.

    Args:
        value: the object, see :class:`methods.python_object.calls.ObjectCalls`.
        width: number of features of the layer's output.
        title: display name; default: the name of the object's class.

    Raises:
        UserError: if it is no such object, or fails on rows of this width.
    """
    calls = ObjectCalls(value)
    content = value_hash((value_hash(value), list(_behaviour(calls, width))))
    spec = MethodSpec(
        name=f"{NAME}.{content}",
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


def _probe_rows(width: int) -> Tensor:
    rows = torch.randn(_PROBED_ROWS, width, generator=torch.Generator().manual_seed(0))
    return torch.cat([scale * rows for scale in _PROBED_SCALES])


def _behaviour(calls: ObjectCalls, width: int) -> Iterator[Tensor]:
    """Yield codes and outputs of fixed rows, computed by one thread: more threads may round differently."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            rows = _probe_rows(width)
            codes = calls.encode(rows)
            yield codes
            yield calls.decode(codes, rows)
    except UserError:
        raise
    except Exception as error:  # code of the object's author
        raise UserError(
            f"{calls.name} fails on rows of {width} features, the width of this layer's output "
            f"({type(error).__name__}: {error}). Give the layer that it was trained on."
        ) from error
    finally:
        torch.set_num_threads(threads)


def _atoms(calls: ObjectCalls, n_units: int, rows: Tensor, d_out: int | None) -> Tensor:
    """Return the atoms (n_units, d_out) of a decoder, which must be affine in the codes."""
    x = rows[:1]

    def decoded(codes: Tensor) -> Tensor:
        output = calls.decode(codes, x.expand(len(codes), -1))
        if d_out is not None and output.shape[1] != d_out:
            raise UserError(
                f"{calls.name}.decode returns {output.shape[1]} features, and this layer's output has {d_out}: give "
                "the layer that it was trained on."
            )
        return output

    offset = decoded(rows.new_zeros(1, n_units))
    parts = []
    for start in range(0, n_units, _CHUNK):
        size = min(_CHUNK, n_units - start)
        codes = rows.new_zeros(size, n_units)
        codes[torch.arange(size), torch.arange(start, start + size)] = 1
        parts.append(decoded(codes) - offset)
    atoms = torch.cat(parts)
    codes = torch.rand(8, n_units, generator=torch.Generator().manual_seed(1)).to(rows)
    expected = codes @ atoms + offset
    deviation = float((decoded(codes) - expected).abs().max())
    if not deviation <= _TOLERANCE * max(1e-12, float(expected.abs().max())):
        raise UserError(
            f"{calls.name}.decode is no affine function of the codes (it deviates by {deviation:.3g}), so its units "
            "have no atoms; methods with another decoder cannot be measured yet."
        )
    return atoms
