"""Metrics as a command line names them: ``all``, ``default``, or ids."""

from __future__ import annotations

from harness.errors import UserError
from harness.suites.known_names import METRIC, require_known

#: Names that stand for several metrics.
GROUPS = ("all", "default")


def metric_ids(text: str) -> list[str]:
    """Return the ids of ``all`` metrics, the ``default`` ones, or of those given, in the order given.

    Args:
        text: groups and ids with commas between them, such as ``default,morans_i``.

    Raises:
        UserError: if the text names none, or one that does not exist.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise UserError(
            "--metrics names none: give all, default, or ids of `harness list metrics` with commas between."
        )
    for word in words:
        if word not in GROUPS:
            require_known(METRIC, word)
    if not any(word in GROUPS for word in words):
        return list(dict.fromkeys(words))
    from harness.metrics.base import METRICS

    of_group = {"all": METRICS.names(), "default": [name for name in METRICS.names() if METRICS.get(name).default]}
    return list(dict.fromkeys(name for word in words for name in of_group.get(word, [word])))


def metric_setting(text: str) -> str:
    """Return the setting (``KEY=VALUE``) that chooses these metrics."""
    return f"evaluation.metrics=[{', '.join(repr(name) for name in metric_ids(text))}]"
