"""Display names, and escaping that keeps data from being interpreted as Markdown or HTML."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from results.boards.board import Column, Row
from results.boards.value_text import spread_text
from results.store.records import DEVICE_UNITS

JOINER = "\N{WORD JOINER}"
_SIGN = re.compile(r"(?<!\S)(?=(<->|->|<-|--|>=|<=|~=)(?!\S))")
_SHORTCODE = re.compile(r":(?=[\w+/-]+:)")
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")

# Metrics whose id without underscores is not a title.
TITLES = {
    "ms_score": "MS score",
    "ms_score_adjusted": "MS score above chance",
    "ms_score_token_adjusted": "MS score above random images at the same kind of token",
    "ms_score_patch": "MS score of units that peak at patch tokens",
    "ms_score_cls": "MS score of units that peak at CLS or register tokens",
    "r2": "R²",
    "r2_pooled": "R², pooled over features",
    "fvu": "fraction of variance unexplained",
    "accuracy_recovered": "accuracy recovered, from mean ablation (0) to the original (1)",
    "agreement_recovered": "agreement recovered, from mean ablation (0) to the original (1)",
    "agreement": "agreement with the original",
    "kl": "KL divergence from the original",
    "l0": "L0",
    "alive_fraction": "alive units",
    "effective_rank_share": "effective rank, share of the largest possible",
    "unit_overlap": "overlap with the nearest unit",
    "unit_overlap_across": "overlap with the nearest unit of another neuron",
    "stability": "stability over seeds",
    "stability_alive": "stability over seeds, alive units",
    "stability_writer": "stability over seeds, writing directions",
    "token_sensitivity": "similarity over token seeds",
    "class_purity_adjusted": "class purity above chance",
    "class_purity_chance": "class purity at chance",
    "class_purity_undefined": "units with an undefined class purity",
    "polysemanticity_null": "polysemanticity at chance",
    "polysemanticity_undefined": "units with an undefined polysemanticity",
    "min_distinctness": "minimum distinctness",
    "latency_ms": "latency",
    "efficiency_ratio": "latency relative to the backbone",
    "macs": "multiply-adds",
    "fit_seconds": "time of the fit",
    "fit_peak_memory": "peak memory of the fit",
    "encode_macs": "multiply-adds to encode",
    "parameters": "parameters of the method",
    "ms_score_null": "MS score at chance",
    "ms_score_null_undefined": "units with an undefined MS score at chance",
    "ms_score_undefined": "units with an undefined MS score",
    "nearest_cosine_mean": "cosine to the nearest atom, mean",
    "nearest_cosine_median": "cosine to the nearest atom, median",
    "nearest_cosine_p95": "cosine to the nearest atom, 95th percentile",
}
DIRECTIONS = {"higher": "higher is better ↑", "lower": "lower is better ↓", "none": "no direction"}

_AXES = {
    "interpretability": ("ms_score", "win_rate", "class_purity", "polysemanticity", "purity"),
    "faithfulness": ("accuracy", "agreement", "r2", "fvu", "kl"),
    "stability": ("stability", "token_sensitivity"),
    "geometry": ("effective_rank", "max_collinearity", "nearest_cosine", "min_distinctness", "coherence"),
    "efficiency": (
        *("efficiency", "latency", "throughput", "peak_memory", "memory", "macs", "parameters"),
        *("fit_seconds", "fit_peak_memory", "encode_macs"),
    ),
    "units": ("l0", "alive_fraction", "expansion_factor", "unit_overlap", "unique_units", "n_units", "dead"),
}


def plain(text: object) -> str:
    """Return `text` as Markdown that displays it unchanged: every punctuation mark escaped, on one line.

    Streamlit turns ``--``, ``->`` and the like into other signs, and ``:name:`` into a picture, even if they are
    escaped. A word joiner, which has no width, prevents these matches.
    """
    return _PUNCTUATION.sub(r"\\\1", _SHORTCODE.sub(f":{JOINER}", _SIGN.sub(JOINER, one_line(text))))


def one_line(text: object) -> str:
    """Return `text` in its displayed form, on one line."""
    return " ".join(visible(text).split())


def visible(text: object) -> str:
    """Return `text` with control and direction characters escaped, newlines and tabs kept."""
    return "".join(
        char if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co") else ascii(char)[1:-1]
        for char in str(text)
    )


def distinct(titles: Sequence[str]) -> list[str]:
    """Return the titles in their displayed form, numbered if several are equal."""
    names: list[str] = []
    for title in map(visible, titles):
        number, name = 1, title
        while name in names:
            number += 1
            name = f"{title} ({number})"
        names.append(name)
    return names


def unit_of(column: Column) -> str:
    """Return the display unit of a column."""
    return "%" if column.unit == "fraction" else column.unit


def metric_title(metric: str) -> str:
    """Return a metric's display name."""
    return TITLES.get(metric, metric.replace("_", " "))


def column_title(column: Column) -> str:
    """Return a column's display name, with what distinguishes it from the metric's other columns."""
    return metric_title(column.metric) + column.key[len(column.metric) :]


def title_and_unit(column: Column) -> str:
    """Return a column's name with its unit in parentheses, if it has one."""
    unit = unit_of(column)
    return f"{column_title(column)} ({unit})" if unit else column_title(column)


def axis_title(column: Column) -> str:
    """Return a column's name, unit and direction."""
    return f"{title_and_unit(column)}, {DIRECTIONS[column.direction]}"


def axis_of(column: Column) -> str:
    """Return the leaderboard axis of a column."""
    other = "efficiency" if column.unit in DEVICE_UNITS else "other"
    return next((axis for axis, starts in _AXES.items() if column.metric.startswith(starts)), other)


AXES = (*_AXES, "other")
"""The leaderboard's axes in their order."""


def floor_title(metric: str) -> str:
    """Return the title of a floor: a metric of the network with its layer's output replaced, or unchanged."""
    replacements = {
        "zero": "with the layer's output set to zero",
        "mean": "with the layer's output set to its mean",
        "original": "of the original network",
    }
    floor = metric.removeprefix("floor_")
    kind, _, name = floor.partition("_")
    return f"{metric_title(name)} {replacements[kind]}" if kind in replacements else floor.replace("_", " ")


def value_text(row: Row, column: Column) -> str:
    """Return a row's mean and its standard error or interval, as in the printed leaderboard, or why it has none."""
    aggregate = row.metrics.get(column.key)
    if aggregate is None:
        if column.key in row.undefined:
            return "undefined"
        return "failed" if row.n_failed and not row.n_finished else "–"
    return column.text(aggregate.mean) + spread_text(aggregate, column)


def compact(value: Any) -> str:
    """Return a value of a configuration in few characters."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={compact(item)}" for key, item in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(compact(item) for item in value) or "none"
    return visible(value)


def number(value: float | None, digits: int = 4) -> str:
    """Return a number that may be missing or NaN."""
    if value is None:
        return "–"
    return "undefined" if value != value else f"{value:.{digits}f}"


def duration(seconds: float | None) -> str:
    """Return a time span in words."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
