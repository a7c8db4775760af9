"""Tensors that a fitted method consists of, as the entries of its ``fitted`` name them.

An entry is the name of a tensor attribute (``"atoms"``), or ``"layers.*"``: the attribute ``layers`` is then a
dictionary of at least one tensor, whose keys may depend on the settings and on what was learned. In a file, its tensors
are called ``layers.KEY``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from methods.errors import UserError

#: End of an entry that names a dictionary of tensors.
MANY = ".*"


def named_tensors(holder: Any, fitted: Iterable[str]) -> dict[str, Tensor]:
    """Return the tensors of an object by their names in a file. What is not set, or of another type, is left out."""
    tensors: dict[str, Tensor] = {}
    for entry in fitted:
        value = getattr(holder, entry.removesuffix(MANY), None)
        if not entry.endswith(MANY):
            value = {"": value}
        for key, tensor in value.items() if isinstance(value, Mapping) else ():
            if isinstance(tensor, Tensor) and isinstance(key, str):
                tensors[f"{entry.removesuffix('*')}{key}"] = tensor
    return tensors


def is_complete(holder: Any, entry: str) -> bool:
    """Return True if the attribute of an entry is a tensor, or a dictionary of tensors with names."""
    value = getattr(holder, entry.removesuffix(MANY), None)
    if not entry.endswith(MANY):
        return isinstance(value, Tensor)
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(key, str) and key and isinstance(tensor, Tensor) for key, tensor in value.items())
    )


def set_tensors(holder: Any, fitted: Iterable[str], tensors: Mapping[str, Tensor], source: str) -> None:
    """Set the attributes of an object from the tensors of a file.

    Raises:
        UserError: if a tensor belongs to no entry. A file may come from anyone, so it must not set other attributes.
    """
    entries = set(fitted)
    dictionaries: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        attribute, _, key = name.partition(".")
        if name in entries and not name.endswith(MANY):
            setattr(holder, name, tensor)
        elif key and attribute + MANY in entries:
            dictionaries.setdefault(attribute, {})[key] = tensor
        else:
            raise UserError(f"{source} contains the tensor {name[:80]!r}, which {holder.spec.name} does not have.")
    for attribute, values in dictionaries.items():
        setattr(holder, attribute, values)
