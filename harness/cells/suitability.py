"""Suitability of methods for a site: those that read a layer's input or split its weights need a linear layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.activations.site import needs_linear
from harness.activations.sites import nearest_linear
from harness.errors import UserError
from harness.suites import MethodEntry, Suite
from methods import METHODS
from methods.base import make_config
from methods.plugin_calls import calling

if TYPE_CHECKING:
    from harness.cells.plan import PreparedTarget


def suitable_entries(suite: Suite, target: PreparedTarget) -> list[MethodEntry]:
    """Return the entries of a target that its site suits.

    Raises:
        UserError: if an entry needs a linear layer, and the target does not say that such entries are skipped.
    """
    entries = suite.methods_of(target.target)
    unsuitable = unsuitable_entries(entries, target)
    if not unsuitable:
        return list(entries)
    suitable = [entry for entry in entries if entry not in unsuitable]
    if target.target.skip_unsuitable and suitable:
        return suitable
    raise UserError(_refusal(unsuitable, suitable, target))


def unsuitable_entries(entries: Sequence[MethodEntry], target: PreparedTarget) -> list[MethodEntry]:
    """Return the entries that need a linear layer, if the site of the target is none."""
    return [] if target.site.kind == "linear" else [entry for entry in entries if _needs_linear(entry)]


def skipped_sentence(suite: Suite, target: PreparedTarget) -> str:
    """Return a sentence on the entries that are left out of a target; empty if there is none."""
    names = _names(unsuitable_entries(suite.methods_of(target.target), target))
    return f"Left out at {target.site.path}, which is not a linear layer: {names}." if names else ""


def _needs_linear(entry: MethodEntry) -> bool:
    method = METHODS.get(entry.name)
    with calling(METHODS, entry.name):
        return needs_linear(method.spec_with(make_config(method, entry.config)))


def _refusal(unsuitable: Sequence[MethodEntry], suitable: Sequence[MethodEntry], target: PreparedTarget) -> str:
    site = target.site
    verb = "needs" if len({_name(entry) for entry in unsuitable}) == 1 else "need"
    nearest = nearest_linear(site.path, target.backbone.model)
    choose = (
        f"Choose a linear layer, such as {', '.join(nearest)}" if nearest else "Choose a backbone with linear layers"
    )
    others = " ".join(f"--method {name}" for name in dict.fromkeys(entry.name for entry in suitable))
    keep = f", or leave them out with --skip-missing or {others}" if suitable else ""
    return (
        f"{_names(unsuitable)} {verb} the input or the weights of a linear layer, and {site.path!r} of "
        f"{target.backbone.title} is a {type(site.module).__name__}, of which only the output is decomposed. "
        f"{choose}{keep}."
    )


def _names(entries: Sequence[MethodEntry]) -> str:
    return ", ".join(dict.fromkeys(map(_name, entries)))


def _name(entry: MethodEntry) -> str:
    return entry.label or METHODS.get(entry.name).spec.title
