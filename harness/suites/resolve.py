"""Resolution of a suite from the command line: name or path, scale, options and settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from harness.suites import Suite, load_suite, with_overrides, with_settings
from harness.suites.loading import read_suite
from harness.suites.metric_groups import metric_setting
from harness.suites.names import check_sources
from harness.suites.tiny import require_scale, scaled


class ResolvedSuite(NamedTuple):
    """Suite as it will be run."""

    suite: Suite
    notices: list[str]
    """what a user must know before reading its figures"""


def resolve_suite(
    name_or_path: str,
    *,
    scale: str | None = None,
    settings: Sequence[str] = (),
    dataset: str | None = None,
    evaluation: float | None = None,
    metrics: str | None = None,
    **options: Any,
) -> ResolvedSuite:
    """Return the suite that a command line describes.

    Options that select layers and methods are applied before the scale, so that a backbone with given weights is not
    replaced by a stand-in. Images and settings are applied after the scale and are not changed by it.

    Args:
        name_or_path: name of a suite, or path of a TOML file.
        scale: ``tiny``, or None for the full suite.
        settings: ``KEY=VALUE`` of ``--set``, see :func:`harness.suites.with_settings`.
        dataset: data set, instead of that of the suite.
        evaluation: number or share of evaluation images.
        metrics: ``all``, ``default``, or ids of metrics with commas between them, instead of those of the suite.
        options: other options of :func:`harness.suites.with_overrides`.

    Raises:
        UserError: if the suite, scale, or a key or value is invalid.
    """
    if metrics is not None:
        settings = [metric_setting(metrics), *settings]
    # First without the checks that import torch: a mistake in a name should be answered at once.
    early = with_overrides(
        read_suite(name_or_path, methods=options.get("methods")),
        dataset=dataset,
        evaluation=evaluation,
        check=check_sources,
        **options,
    )
    if scale is not None:
        require_scale(scale)
    with_settings(early, settings, check=check_sources)
    suite = with_overrides(load_suite(name_or_path, methods=options.get("methods")), **options)
    target_settings = [text for text in settings if scale is not None and text.lstrip().startswith("target.")]
    suite = with_settings(suite, target_settings)
    notices: list[str] = []
    if scale is not None:
        small = scaled(suite, scale)
        suite = small.suite
        notices = small.notices(other_images=dataset)
    suite = with_overrides(suite, dataset=dataset, evaluation=evaluation)
    return ResolvedSuite(with_settings(suite, [text for text in settings if text not in target_settings]), notices)
