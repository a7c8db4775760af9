"""References from a method's settings to another entry of the same suite.

``counts_of = { entry = "elude" }`` stands for the name and settings of the entry with that name or label. Settings of a
target and ``--set method.elude.top_k=1000`` change both the entry and what refers to it. To keep the settings of the
reference fixed, write ``counts_of = { name = "elude", config = { ... } }``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.errors import UserError
from methods.registry import did_you_mean

if TYPE_CHECKING:
    from harness.suites.schema import MethodEntry

#: Only key of a table that is a reference.
KEY = "entry"


def resolve_entry(entry: MethodEntry, among: Sequence[MethodEntry]) -> MethodEntry:
    """Return the entry with each reference in its settings replaced by ``{"name": ..., "config": ...}``.

    Args:
        among: entries to which it may refer, settings of the target included.

    Raises:
        UserError: if a reference matches no entry or several, or one whose settings are not fixed yet.
    """
    references = {key: value[KEY] for key, value in entry.config.items() if _is_reference(value)}
    if not references:
        return entry
    replaced = {key: _resolved(f"{entry.name}.{key}", name, among) for key, name in references.items()}
    return entry.model_copy(update={"config": {**entry.config, **replaced}})


def resolve_missing(kept: Sequence[MethodEntry], among: Sequence[MethodEntry]) -> tuple[MethodEntry, ...]:
    """Return the entries that are kept of a list; references to entries that are not kept are resolved."""
    remaining = {name for entry in kept for name in (entry.name, entry.label)}

    def names_are_kept(entry: MethodEntry) -> bool:
        return all(value[KEY] in remaining for value in entry.config.values() if _is_reference(value))

    return tuple(entry if names_are_kept(entry) else resolve_entry(entry, among) for entry in kept)


def _is_reference(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) == {KEY}


def _resolved(where: str, name: Any, among: Sequence[MethodEntry]) -> dict[str, Any]:
    # A label is more specific than a name.
    matches = [entry for entry in among if entry.label == name] or [entry for entry in among if entry.name == name]
    if len(matches) > 1:
        labels = ", ".join(repr(entry.label or entry.name) for entry in matches)
        raise UserError(f"{where}: {len(matches)} entries are called {name!r} ({labels}); refer to one by its label.")
    if not matches:
        names = sorted({entry.label or entry.name for entry in among})
        raise UserError(f"{where}: no entry of the target is called {name!r}. {did_you_mean(str(name), names)}")
    [match] = matches
    if match.select or any(_is_reference(value) for value in match.config.values()):
        raise UserError(
            f"{where}: the settings of the entry {name!r} are not fixed in the suite; write a name and a config "
            "instead of a reference."
        )
    return {"name": match.name, "config": dict(match.config)}
