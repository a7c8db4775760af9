"""Cells of ``--scale tiny`` in the places of the paper's, to test the report against the paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from harness.suites import MethodEntry, Target, load_suite
from harness.suites.tiny import scaled
from methods import METHODS
from methods.base import make_config
from results.published.rows import Counterparts, PaperSetting, is_backbone, is_method, is_site


class _Stand(NamedTuple):
    """One row of the suite at full size, and what it is at the small one."""

    target: Target
    config: Mapping[str, Any]
    small: Target
    method: str
    known: Mapping[str, Any]
    """of the small configuration what is known beforehand: all of it, or all but what a sweep chooses"""

    def is_at(self, setting: PaperSetting) -> bool:
        # A target without a site has its backbone's own, of which the paper has one layer.
        site = self.target.site
        return is_backbone(self.target.backbone, setting) and (site is None or is_site(site, setting))


def tiny_counterparts(suite: str = "paper") -> Counterparts:
    """The stand-ins of a suite at ``--scale tiny``, in the places of what they stand in for.

    Raises:
        UserError: there is no such suite.
    """
    whole = load_suite(suite)
    stands = []
    for leaf, tiny in zip(whole.leaves, scaled(whole, "tiny").suite.leaves, strict=True):
        for target, small in zip(leaf.targets, tiny.targets, strict=True):
            for entry, own in zip(leaf.methods_of(target), tiny.methods_of(small), strict=True):
                known = own.config if own.select else _complete(own)
                stands.append(_Stand(target, _complete(entry), small, own.name, known))

    def is_small_backbone(name: str, setting: PaperSetting) -> bool:
        return any(stand.small.backbone == name for stand in stands if stand.is_at(setting))

    def is_small_site(path: str, setting: PaperSetting) -> bool:
        return any(stand.small.site == path for stand in stands if stand.is_at(setting))

    def is_small_method(method: str, config: Mapping[str, Any], setting: PaperSetting, published: str) -> bool:
        return any(
            stand.method == method and all(config.get(key) == value for key, value in stand.known.items())
            for stand in stands
            if stand.is_at(setting) and is_method(stand.method, stand.config, setting, published)
        )

    return Counterparts(is_small_backbone, is_small_site, is_small_method, compiled="")


def _complete(entry: MethodEntry) -> dict[str, Any]:
    """An entry's configuration with the defaults of its method, as a store has it."""
    return make_config(METHODS.get(entry.name), entry.config).model_dump(mode="json")
