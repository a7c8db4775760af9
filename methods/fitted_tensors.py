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


def fitted_problem(holder: Any, fitted: Any) -> str:
    """Return why an object is not fitted, by the first wrong entry of its ``fitted``; empty if it is.

    The text completes the sentence "After fit, ...".
    """
    if isinstance(fitted, str):
        return f"`fitted` is a text: write fitted = ({fitted!r},)."
    if not fitted:
        return "`fitted` names nothing: name the tensors that fit sets, and a dictionary of tensors as 'NAME.*'."
    return next((problem for entry in fitted if (problem := entry_problem(holder, entry))), "")


def entry_problem(holder: Any, entry: Any) -> str:
    """Return why an entry of ``fitted`` is no tensor, or no dictionary of tensors with names; empty if it is."""
    if not isinstance(entry, str):
        return f"the entry {entry!r} of `fitted` is no text: give names of attributes."
    attribute, names_many = entry.removesuffix(MANY), entry.endswith(MANY)
    value = getattr(holder, attribute, None)
    if value is None:
        if not attribute:
            return f"the entry `{entry}` of `fitted` has no name: write 'NAME.*' for a dictionary of tensors."
        advice = ": only attributes of the method itself can be named" if "." in attribute else ""
        return f"`{attribute}` is not set{advice}."
    if isinstance(value, Tensor):
        return (
            f"`{entry}` names a dictionary, and `{attribute}` is a Tensor: write `{attribute}`." if names_many else ""
        )
    if not isinstance(value, Mapping):
        wanted = "a dictionary of tensors" if names_many else "a tensor"
        return f"`{attribute}` is a {type(value).__name__}, not {wanted}."
    if not names_many:
        return f"`{entry}` names a tensor, and it is a {type(value).__name__}: write `{entry}{MANY}`."
    if not value:
        return f"`{attribute}` is empty: it must hold at least one tensor."
    for key, tensor in value.items():
        if not isinstance(key, str) or not key:
            return f"key {key!r} of `{attribute}` is {'empty' if key == '' else 'no text'}: give each tensor a name."
        if not isinstance(tensor, Tensor):
            return f"`{attribute}[{key!r}]` is a {type(tensor).__name__}, not a tensor."
    return ""


def with_memory_of_their_own(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors of which no two share memory, which safetensors refuses: the later ones are copied.

    Tied weights, and views of one tensor, are therefore separate tensors once they are loaded.
    """
    separate, used = {}, set()
    for name, tensor in tensors.items():
        storage = (tensor.device, tensor.untyped_storage().data_ptr())
        separate[name] = tensor.clone() if storage in used else tensor
        used.add(storage)
    return separate


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
