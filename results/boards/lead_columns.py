"""Names of metrics in words, and the groups and one-line explanations of the columns that a board shows first.

A metric without an explanation, such as one of a plugin, is shown in the last group, or as a cost if it is a time or
an amount of memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from results.boards.board import Column
from results.boards.panel_kind import is_proxy
from results.store.records import DEVICE_UNITS


class Lead(NamedTuple):
    """Presentation of one metric."""

    heading: str
    explanation: str
    counted: str = ""
    """what the metric's number of observations counts; empty if it is not printed"""


INTERPRETABILITY = "interpretability"
#: Group of columns -> metric id -> its presentation, in the order in which they are shown.
LEADS: Mapping[str, Mapping[str, Lead]] = {
    INTERPRETABILITY: {
        "ms_score_token_adjusted": Lead(
            "MS above chance", "MS score from 0 (random images at the same kind of token) to 100 (equal images)"
        ),
        "ms_score": Lead("MS score", "mean similarity of the images that activate a unit most"),
        "ms_score_adjusted": Lead(
            "MS above null", "MS score from 0 (the unit's other active images) to 100; only for codes of equal density"
        ),
    },
    "faithfulness": {
        "r2": Lead("R2", "share of the variance of the layer's output that the units reconstruct"),
        "accuracy": Lead("accuracy", "of the network with the reconstructed layer", "images"),
        "accuracy_recovered": Lead("accuracy recovered", "0 is mean ablation of the layer, 1 the original network"),
        "agreement": Lead("agreement", "share of images whose prediction does not change", "images"),
        "kl": Lead("KL", "divergence of the predictions from the original ones", "images"),
    },
    "judged": {
        "win_rate": Lead("win rate", "share of comparisons with the other methods that its units won", "comparisons"),
        "autointerp": Lead(
            "detection", "balanced accuracy of judges that look for a unit's named concept; 50 is chance", "units"
        ),
        "autointerp_gap": Lead("detection above control", "the same minus that with another unit's concept", "units"),
    },
    "concepts": {
        "labelled_share": Lead(
            "labelled units", "share of units whose best concept label is above its null; 5 is chance", "units"
        ),
        "distinct_labels": Lead("distinct labels", "different best labels of the labelled units"),
        "label_agreement": Lead(
            "label agreement", "adjusted mutual information of two scorers' labels; 0 is chance, 1 the same", "units"
        ),
        "steering_effect": Lead(
            "steering", "gain of classes by their units, less the change of other images; 0 is random units", "classes"
        ),
        "steering_gain": Lead(
            "steering gain", "rise of a class's log-odds on its images by its units, less random units", "classes"
        ),
        "steering_collateral": Lead(
            "steering collateral", "change of predictions on images of other classes, less random units", "classes"
        ),
        "steering_change": Lead(
            "steering change", "norm of the change of the layer's output, as a share of the output's", "classes"
        ),
    },
    "probing": {
        "sparse_probe_k": Lead("sparse probe", "accuracy of probes of the class with 1 to 16 units", "images"),
        "probe_dense": Lead("dense probe", "accuracy of a probe of the class with all units", "images"),
        "probe_transfer": Lead(
            "probe transfer", "accuracy of a probe with all units that was fitted on the first image set", "images"
        ),
        "robust_corruption": Lead(
            "probe, corrupted images", "accuracy on corrupted images of a probe of the class with all units", "images"
        ),
        "robust_labels": Lead(
            "probe, wrong labels", "accuracy of probes of the class fitted on partly wrong labels", "images"
        ),
        "robust_few_shot": Lead(
            "probe, few images", "accuracy of probes of the class fitted on 1 to 10 images of each", "images"
        ),
        "tpp": Lead(
            "targeted perturbation",
            "fall of a class's probe by ablating its units, less that of other probes",
            "classes",
        ),
        "scr": Lead(
            "spurious correlation removed",
            "share of a probe's bias by a spurious attribute that goes by ablating its units; 0 is no change, 1 all",
            "biased probes",
        ),
        "absorption": Lead(
            "absorption", "share of images on which the unit of a class silences that of its parent", "classes"
        ),
        "ablation_specificity": Lead(
            "ablation specificity", "100: ablating a unit moves the logit of one class, 0: of all classes", "units"
        ),
    },
    "stability": {
        "stability": Lead("stability", "similarity of the units of two initialisation seeds"),
        "stability_writer": Lead("stability, writing", "the same of the directions that units write"),
        "token_sensitivity": Lead("token stability", "similarity of the units of two token seeds"),
    },
    "cost": {
        "l0": Lead("L0", "active units per token"),
        "alive_fraction": Lead("alive units", "share of units that are ever active"),
        "expansion_factor": Lead("expansion", "units per dimension of the layer's output"),
        "fit_seconds": Lead("fit", "time of the fit"),
        "encode_macs": Lead("encoding", "multiply-adds that compute the codes"),
        "parameters": Lead("parameters", "numbers that the method stores"),
        "fit_peak_memory": Lead("fit memory", "peak memory of the fit"),
    },
}
#: Names of further metrics whose id without underscores is not one.
_NAMES: Mapping[str, str] = {
    "ms_score_patch": "MS score, patch units",
    "ms_score_cls": "MS score, CLS units",
    "ms_score_external": "MS score in another network",
    "ms_score_external_adjusted": "MS score in another network, above chance",
    "ms_score_external_null": "MS null in another network",
    "ms_score_external_undefined": "units with an undefined MS score in another network",
    "ms_score_reliability": "split-half reliability of the MS score",
    "morans_i": "spatial coherence (Moran's I)",
    "morans_i_above_null": "maps with spatial coherence above chance",
    "morans_i_outputs": "spatial coherence of the layer's output",
    "morans_i_undefined": "units without a map",
    "frechet_distance": "Fréchet distance, share of the variance",
    "frechet_distance_absolute": "Fréchet distance",
    "frechet_distance_floor": "Fréchet distance of two halves of the images",
    "calibration_error": "calibration error",
    "calibration_error_change": "calibration error, less that of the original",
    "calibration_error_null": "calibration error at chance",
    "calibration_error_original": "calibration error of the original",
    "sparse_probe_1": "probe with 1 unit",
    "sparse_probe_2": "probe with 2 units",
    "sparse_probe_5": "probe with 5 units",
    "sparse_probe_16": "probe with 16 units",
    "sparse_probe_excess": "sparse probe, less random units",
    "probe_dense_layer": "dense probe on the layer",
    "probe_dense_gain": "dense probe, less that on the layer",
    "probe_transfer_layer": "probe transfer on the layer",
    "probe_transfer_gain": "probe transfer, less that on the layer",
    "probe_transfer_drop": "accuracy on the first image set, less that on this one",
    "probe_transfer_gain_change": "gain of codes on this set, less that on the first",
    "robust_corruption_layer": "probe on the layer, corrupted images",
    "robust_corruption_gain": "probe on corrupted images, less that on the layer",
    "robust_labels_layer": "probe on the layer, wrong labels",
    "robust_labels_gain": "probe with wrong labels, less that on the layer",
    "robust_few_shot_layer": "probe on the layer, few images",
    "robust_few_shot_gain": "probe with few images, less that on the layer",
    "tpp_2": "targeted perturbation, 2 units",
    "tpp_5": "targeted perturbation, 5 units",
    "tpp_20": "targeted perturbation, 20 units",
    "tpp_random": "targeted perturbation, random units",
    "scr_2": "spurious correlation removed, 2 units",
    "scr_5": "spurious correlation removed, 5 units",
    "scr_20": "spurious correlation removed, 20 units",
    "scr_random": "spurious correlation removed, random units",
    "absorption_null": "absorption at chance",
    "absorption_excess": "absorption above chance",
    "absorption_missed": "images on which the parent's unit is silent",
    "absorption_rate": "absorption rate (ViSAEBench)",
    "ablation_specificity_control": "specificity of a change of equal size",
    "ablation_specificity_gain": "ablation specificity, less the control",
    "ablation_effect": "largest change of a logit by an ablation",
    "patch_swap": "retention of swapped patches",
    "patch_swap_aligned": "retention with an aligned patch",
    "patch_swap_non_aligned": "retention with another unit's patch",
    "patch_swap_random": "retention with a random patch",
    "patch_swap_shuffled_position": "retention with the patch elsewhere",
    "patch_swap_ablate_elsewhere": "retention with another patch grey",
    "patch_swap_grey": "retention with the patch grey",
    "ms_score_null": "MS null",
    "ms_score_token_null": "MS null at the same kind of token",
    "ms_score_null_undefined": "units with an undefined MS null",
    "ms_score_undefined": "units with an undefined MS score",
    "r2_pooled": "R2, pooled over features",
    "fvu": "fraction of variance unexplained",
    "agreement_recovered": "agreement recovered",
    "effective_rank_share": "effective rank, share of the largest",
    "unit_overlap_across": "unit overlap across neurons",
    "stability_alive": "stability, alive units",
    "class_purity_adjusted": "class purity above chance",
    "class_purity_chance": "class purity at chance",
    "class_purity_undefined": "units with an undefined class purity",
    "polysemanticity_null": "polysemanticity at chance",
    "polysemanticity_undefined": "units with an undefined polysemanticity",
    "nearest_cosine_mean": "cosine to the nearest atom, mean",
    "nearest_cosine_median": "cosine to the nearest atom, median",
    "nearest_cosine_p95": "cosine to the nearest atom, 95th percentile",
    "latency_ms": "latency",
    "efficiency_ratio": "latency relative to the backbone",
    "macs": "multiply-adds",
    "autointerp_control": "detection with another unit's concept",
}
OTHER = "other"
GROUPS = (*LEADS, OTHER)

#: Explanation of older versions that measured something else.
_OLDER: Mapping[tuple[str, int], str] = {
    ("ms_score_adjusted", 1): "MS score from 0 (random images and tokens) to 100 (equal images)",
}
_LEAD_OF: Mapping[str, Lead] = {metric: lead for leads in LEADS.values() for metric, lead in leads.items()}
_ORDER: Mapping[str, int] = {metric: position for position, metric in enumerate(_LEAD_OF)}
_UNIT_TEXT = {"fraction": "%", "units": ""}


def lead_of(column: Column) -> Lead | None:
    """Return the presentation of a column's metric; None if it is not a lead metric."""
    lead, older = _LEAD_OF.get(column.metric), _OLDER.get((column.metric, column.version))
    return lead._replace(explanation=older) if lead and older else lead


def metric_name(metric: str) -> str:
    """Return the name of a metric in words."""
    lead = _LEAD_OF.get(metric)
    return lead.heading if lead else _NAMES.get(metric, metric.replace("_", " "))


def column_name(column: Column, *, with_panel: bool = True, with_variant: bool = True) -> str:
    """Return the name of a column's metric in words.

    Args:
        with_panel: say so if a proxy panel judged the values, as in "proxy win rate"; False beside a badge that does.
        with_variant: add what distinguishes the column from others of its metric.
    """
    panel = "proxy " if with_panel and is_proxy(column.panel) else ""
    return panel + metric_name(column.metric) + (column.key.removeprefix(column.metric) if with_variant else "")


def judged_by(column: Column) -> str:
    """Return the judges of a column in words; empty for a win rate, whose note names them, and without judges."""
    if not column.panel or column.metric == "win_rate":
        return ""
    kind, _, judges = column.panel.partition(":")
    return f"judged by {judges.replace('+', ', ')} ({kind})"


def unit_text(column: Column) -> str:
    """Return the unit in which the values of a column are printed; empty if they have none."""
    return _UNIT_TEXT.get(column.unit, column.unit)


def heading(column: Column) -> str:
    """Return a column's name in words, its unit and its arrow."""
    unit = unit_text(column)
    return f"{column_name(column)}{f' ({unit})' if unit else ''}{column.arrow}"


def group_of(column: Column) -> str:
    """Return the group of columns in which a column is shown."""
    named = next((group for group, leads in LEADS.items() if column.metric in leads), None)
    return named or ("cost" if column.unit in DEVICE_UNITS else OTHER)


def position(column: Column) -> tuple[int, int]:
    """Return the sorting key of a column among those of a board, which are sorted stably."""
    return GROUPS.index(group_of(column)), _ORDER.get(column.metric, len(_ORDER))
