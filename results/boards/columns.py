"""Columns of a board: which scores of a metric are comparable, and why the others are not."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from results.boards.board import Column, digits_of
from results.store.records import DEVICE_UNITS

COLUMN_ORDER = (
    *("ms_score_token_adjusted", "ms_score", "ms_score_adjusted", "win_rate", "autointerp"),
    *("r2", "accuracy", "accuracy_recovered", "agreement", "kl"),
    *(
        "labelled_share",
        "distinct_labels",
        "label_agreement",
        "steering_effect",
        "steering_gain",
        "steering_collateral",
        "steering_change",
    ),
    *("sparse_probe_k", "probe_dense", "probe_transfer", "robust_corruption", "robust_labels", "robust_few_shot"),
    *("tpp", "scr", "absorption", "ablation_specificity"),
    *("stability", "stability_alive", "stability_writer", "token_sensitivity"),
    *("l0", "alive_fraction", "expansion_factor", "fit_seconds", "encode_macs"),
)
# What a method costs. Costs are shown beside the others and not tested: a larger dictionary is slower by construction.
COSTS = frozenset({"fit_seconds", "fit_peak_memory", "encode_macs", "parameters"})
# Secondary metrics of the columns above. Metrics of a plugin are not among them: its author wants to see them.
DETAILS = frozenset(
    {
        *("class_purity", "class_purity_adjusted", "polysemanticity", "effective_rank", "effective_rank_share"),
        *("max_collinearity", "min_distinctness", "nearest_cosine_mean", "nearest_cosine_median", "nearest_cosine_p95"),
        # Its level of chance depends on the density of the codes, so it misleads between sparse and dense ones.
        "ms_score_adjusted",
        *("unique_units", "unit_overlap", "unit_overlap_across", "ms_score_patch", "ms_score_cls"),
        *(
            "fvu",
            "r2_pooled",
            "agreement_recovered",
            "stability_alive",
            "fit_peak_memory",
            "parameters",
            "autointerp_gap",
            "distinct_labels",
            "label_agreement",
            "steering_gain",
            "steering_collateral",
            "steering_change",
        ),
        *("sparse_probe_1", "sparse_probe_2", "sparse_probe_5", "sparse_probe_16", "sparse_probe_excess"),
        *("probe_dense_layer", "probe_dense_gain", "tpp_2", "tpp_5", "tpp_20", "tpp_random"),
        *("probe_transfer_layer", "probe_transfer_gain", "probe_transfer_drop", "probe_transfer_gain_change"),
        *("robust_corruption_layer", "robust_corruption_gain", "robust_labels_layer", "robust_labels_gain"),
        *("robust_few_shot_layer", "robust_few_shot_gain"),
        *("scr_2", "scr_5", "scr_20", "scr_random"),
        *("absorption_null", "absorption_excess", "absorption_missed", "absorption_rate"),
        *("ablation_specificity_control", "ablation_specificity_gain", "ablation_effect"),
        *("patch_swap_aligned", "patch_swap_non_aligned", "patch_swap_random", "patch_swap_shuffled_position"),
        *(
            "patch_swap_ablate_elsewhere",
            "patch_swap_grey",
            "ms_score_external_null",
            "morans_i_above_null",
            "morans_i_outputs",
        ),
        *("frechet_distance_absolute", "frechet_distance_floor", "calibration_error_change"),
        *("calibration_error_null", "calibration_error_original"),
    }
)


class Variant(NamedTuple):
    """Conditions that two scores of one metric must share to be in one column."""

    version: int
    params: str
    panel: str
    evaluation: str
    device: str
    unit: str
    direction: str


_WHY = {
    "version": "they are different versions of the metric",
    "params": "their parameters differ",
    "panel": "they were judged by different panels",
    "evaluation": "they were measured on different evaluation sets",
    "device": "they were measured on different devices or in different dtypes",
    "unit": "their units differ",
    "direction": "they disagree on which direction is better",
}


def variant_of(score: Mapping[str, Any], cell: Mapping[str, Any]) -> Variant:
    """Return what distinguishes columns of one metric: version, parameters, panel, images, device, unit, direction."""
    on_device = score["unit"] in DEVICE_UNITS
    device = " ".join(str(part) for part in (cell["device"], cell["dtype"]) if part) if on_device else ""
    return Variant(
        version=int(score["version"]),
        params=json.dumps(score["params"] or {}, sort_keys=True, ensure_ascii=False),
        panel=score["panel"] or "",
        evaluation=score["evaluation_fingerprint"] or cell["evaluation_fingerprint"] or "",
        device=device,
        unit=score["unit"] or "",
        direction=score["direction"],
    )


def why_not(variants: Sequence[Variant]) -> str:
    """Return the reason why scores of these variants of one metric may not be compared."""
    return "; ".join(_WHY[name] for name in _differing(variants))


def _differing(variants: Sequence[Variant]) -> list[str]:
    return [
        name for name, values in zip(Variant._fields, zip(*variants, strict=True), strict=True) if len(set(values)) > 1
    ]


def columns_of(
    scores: Sequence[Mapping[str, Any]], evaluation: str | None
) -> tuple[list[Column], dict[tuple[str, Variant], str], list[str]]:
    """Return the columns in order, the key of each (metric, variant), and notes on metrics with several columns."""
    variants: dict[str, dict[Variant, list[float]]] = {}
    for score in scores:
        values = variants.setdefault(score["metric"], {}).setdefault(score["variant"], [])
        if math.isfinite(score["value"]):
            values.append(float(score["value"]))
    # A column shows one tournament, so one panel.
    panels = {(score["metric"], score["variant"]): score for score in scores}
    columns: list[Column] = []
    key_of: dict[tuple[str, Variant], str] = {}
    separate_columns: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for metric in sorted(variants, key=_column_position):
        # The newest version comes first: it is the default for sorting.
        ordered = sorted(variants[metric], key=lambda variant: (-variant.version, variant[1:]))
        for variant in ordered:
            key_of[metric, variant] = _column_key(metric, variant, ordered)
            columns.append(
                Column(
                    key=key_of[metric, variant],
                    metric=metric,
                    version=variant.version,
                    params=json.loads(variant.params),
                    panel=variant.panel or None,
                    evaluation_fingerprint=variant.evaluation or evaluation,
                    device=variant.device or None,
                    unit=variant.unit,
                    direction=variant.direction,
                    digits=digits_of(variant.unit, variants[metric][variant]),
                    panel_agreement=panels[metric, variant].get("panel_agreement"),
                    panel_at_chance=panels[metric, variant].get("panel_at_chance") or "",
                )
            )
        if len(ordered) > 1:
            suffixes = tuple(key_of[metric, variant].removeprefix(metric) for variant in reversed(ordered))
            separate_columns.setdefault((suffixes, why_not(ordered)), []).append(metric)
    return columns, key_of, [_separation_note(metrics, *key) for key, metrics in separate_columns.items()]


def is_detail(column: Column) -> bool:
    """Return whether the column may be left out if space is limited: a secondary metric, or a reference level."""
    return column.metric in DETAILS or (column.direction == "none" and column.metric not in COLUMN_ORDER)


def _separation_note(metrics: Sequence[str], suffixes: Sequence[str], reason: str) -> str:
    """Return the note that these metrics' columns are not ranked together: one sentence for all with this reason."""
    if len(metrics) > 1:
        return f"{_joined(metrics)}: {_joined(suffixes)} of each are not ranked together: {reason}."
    return f"{_joined([metrics[0] + suffix for suffix in suffixes])} are not ranked together: {reason}."


def _joined(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _column_position(metric: str) -> tuple[int, str]:
    return (COLUMN_ORDER.index(metric) if metric in COLUMN_ORDER else len(COLUMN_ORDER), metric)


def _column_key(metric: str, variant: Variant, all_of_metric: Sequence[Variant]) -> str:
    key, differing = metric, _differing(all_of_metric)
    if "version" in differing:
        key += f"@{variant.version}"
    details = []
    if "params" in differing and not _panels_tell_apart(all_of_metric):
        all_params = [json.loads(other.params) for other in all_of_metric]
        details.append(
            _scorers_of(json.loads(variant.params), all_params) or difference(json.loads(variant.params), all_params)
        )
    details += [getattr(variant, name) or "none" for name in differing if name not in ("version", "params")]
    return f"{key}[{', '.join(details)}]" if details else key


def _panels_tell_apart(variants: Sequence[Variant]) -> bool:
    """Return whether each panel has one set of parameters, so that its name says enough (its prompt is its own)."""
    panels = [variant.panel for variant in variants]
    return all(panels) and len({(variant.panel, variant.params) for variant in variants}) == len(set(panels))


def _scorers_of(params: Mapping[str, Any], among: Sequence[Mapping[str, Any]]) -> str:
    """Return the names of the scorers of labels, as "clip" or "classes+clip", if they tell all of `among` apart.

    The networks and lists of concepts of two scorers differ in many more settings. Empty: the names are not enough.
    """
    names = [_scorer_names(other) for other in among]
    return _scorer_names(params) if all(names) and len(set(names)) == len(names) else ""


def _scorer_names(params: Mapping[str, Any]) -> str:
    scorers = params.get("scorers", [params.get("scorer")])
    is_named = isinstance(scorers, list) and scorers and all(isinstance(name, str) and name for name in scorers)
    return "+".join(scorers) if is_named else ""


def difference(config: Mapping[str, Any], among: Sequence[Mapping[str, Any]]) -> str:
    """Return the entries of `config` in which `among` are not all the same, as "k=32, lr=0.1"."""
    keys = sorted({key for other in among for key in other})
    absent = object()
    differing = [key for key in keys if any(other.get(key, absent) != among[0].get(key, absent) for other in among)]
    return ", ".join(f"{key}={config[key]}" if key in config else f"no {key}" for key in differing)
