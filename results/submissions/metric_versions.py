"""Versions of the scores that this program computes, without importing the metrics, which need torch.

A test compares this list with `harness.metrics`. A score of a metric that is not listed comes from a plugin.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

#: Score -> newest version.
NEWEST: Mapping[str, int] = {
    **dict.fromkeys(("accuracy", "agreement", "kl", "accuracy_recovered", "agreement_recovered"), 1),
    **dict.fromkeys(("r2", "r2_pooled", "fvu", "alive_fraction", "expansion_factor", "parameters", "encode_macs"), 1),
    **dict.fromkeys(("class_purity", "class_purity_adjusted", "class_purity_chance"), 1),
    **dict.fromkeys(("morans_i", "morans_i_above_null", "morans_i_outputs"), 1),
    **dict.fromkeys(("frechet_distance", "frechet_distance_absolute", "frechet_distance_floor"), 1),
    **dict.fromkeys(("ms_score_reliability", "ms_score_reliability_null"), 1),
    **dict.fromkeys(("effective_rank", "effective_rank_share", "max_collinearity", "min_distinctness"), 1),
    **dict.fromkeys(("nearest_cosine_mean", "nearest_cosine_median", "nearest_cosine_p95"), 1),
    **dict.fromkeys(("autointerp", "autointerp_control", "autointerp_gap"), 1),
    **dict.fromkeys(("labelled_share", "distinct_labels", "label_agreement"), 1),
    **dict.fromkeys(("steering_effect", "steering_gain", "steering_collateral", "steering_change"), 1),
    **dict.fromkeys(("calibration_error", "calibration_error_null", "calibration_error_original"), 1),
    "calibration_error_change": 1,
    **dict.fromkeys(("sparse_probe_k", "sparse_probe_1", "sparse_probe_2", "sparse_probe_5", "sparse_probe_16"), 1),
    **dict.fromkeys(("sparse_probe_excess", "probe_dense", "probe_dense_layer", "probe_dense_gain"), 1),
    **dict.fromkeys(("probe_transfer", "probe_transfer_layer", "probe_transfer_gain"), 1),
    **dict.fromkeys(("probe_transfer_drop", "probe_transfer_gain_change"), 1),
    **dict.fromkeys(("robust_corruption", "robust_corruption_layer", "robust_corruption_gain"), 1),
    **dict.fromkeys(("robust_labels", "robust_labels_layer", "robust_labels_gain"), 1),
    **dict.fromkeys(("robust_few_shot", "robust_few_shot_layer", "robust_few_shot_gain"), 1),
    **dict.fromkeys(("absorption", "absorption_null", "absorption_excess", "absorption_missed", "absorption_rate"), 1),
    **dict.fromkeys(("tpp", "tpp_2", "tpp_5", "tpp_20", "tpp_random"), 1),
    **dict.fromkeys(("scr", "scr_2", "scr_5", "scr_20", "scr_random"), 1),
    **dict.fromkeys(("ablation_specificity", "ablation_specificity_control", "ablation_specificity_gain"), 1),
    **dict.fromkeys(("ablation_effect", "patch_swap", "patch_swap_aligned", "patch_swap_non_aligned"), 1),
    **dict.fromkeys(
        ("patch_swap_random", "patch_swap_shuffled_position", "patch_swap_ablate_elsewhere", "patch_swap_grey"), 1
    ),
    **dict.fromkeys(("ms_score_external", "ms_score_external_null", "ms_score_external_adjusted"), 1),
    **dict.fromkeys(("ms_score", "polysemanticity", "polysemanticity_null"), 1),
    **dict.fromkeys(("unit_overlap", "unit_overlap_across", "unique_units"), 1),
    **dict.fromkeys(("evidence_editable_units", "evidence_logits_gap", "evidence_gradients", "evidence_labels"), 1),
    **dict.fromkeys(("l0", "ms_score_null", "ms_score_adjusted", "ms_score_token_adjusted"), 2),
    **dict.fromkeys(("ms_score_patch", "ms_score_cls", "fit_peak_memory"), 2),
    **dict.fromkeys(("recovery", "recovery_adjusted", "recovery_random", "recovery_purity", "recovery_cosine"), 2),
    **dict.fromkeys(("recovery_ari", "recovery_separated"), 2),
}
#: Score of a group of cells -> newest version.
NEWEST_OF_GROUPS: Mapping[str, int] = {
    **dict.fromkeys(("stability", "stability_writer", "token_sensitivity", "token_sensitivity_writer"), 2),
    "stability_alive": 1,
}
#: Scores whose names are made of another one, of the kind of a baseline, or of the way a method was run.
_COMPOSED = re.compile(
    r"(?P<metric>.+)_undefined|floor_.+|(?:efficiency_ratio|macs|latency_ms|throughput|peak_memory)(?:_.+)?"
)


def newest_version(metric: str) -> int | None:
    """Return the newest version of a score; None if this program does not compute it."""
    if metric in NEWEST:
        return NEWEST[metric]
    match = _COMPOSED.fullmatch(metric)
    if match is None:
        return None
    return NEWEST.get(match["metric"]) if match["metric"] else 1
