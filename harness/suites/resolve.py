"""What a command line asks for: a suite by name or path, smaller where wanted, with its options and settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from harness.suites import Suite, load_suite, with_overrides, with_settings
from harness.suites.tiny import scaled


class Choice(NamedTuple):
    """A suite as it will be run."""

    suite: Suite
    told: list[str]
    """what a person must know about it before reading figures"""


def choose(
    name_or_path: str,
    *,
    scale: str | None = None,
    settings: Sequence[str] = (),
    dataset: str | None = None,
    evaluation: float | None = None,
    **options: Any,
) -> Choice:
    """The suite of a command line.

    What says *which* layers and methods run comes before the scale, so that a backbone with weights of its own is
    taken as it is, and only the others get a stand-in; images and settings come after it and are taken as they are.

    Args:
        scale: ``tiny``, or None for the suite as it is.
        settings: ``KEY=VALUE`` of ``--set``, see :func:`harness.suites.with_settings`.
        options: further ones of :func:`harness.suites.with_overrides`.

    Raises:
        UserError: for an unknown suite, scale, key or value.
    """
    suite = with_overrides(load_suite(name_or_path, methods=options.get("methods")), **options)
    of_targets = [text for text in settings if scale is not None and text.lstrip().startswith("target.")]
    suite = with_settings(suite, of_targets)
    told: list[str] = []
    if scale is not None:
        small = scaled(suite, scale)
        suite = small.suite
        told = small.told(other_images=dataset)
    suite = with_overrides(suite, dataset=dataset, evaluation=evaluation)
    return Choice(with_settings(suite, [text for text in settings if text not in of_targets]), told)
