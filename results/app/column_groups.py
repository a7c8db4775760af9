"""Groups of a leaderboard's columns: one lead column of each, and the further ones that are folded behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from results.boards import lead_columns
from results.boards.board import Board, Column
from results.boards.ranking import HEADLINE
from results.comparison.headline import FAITHFULNESS

#: Group -> metrics of which the first that a board has leads the group, in the order of the lead columns.
LEADERS: Mapping[str, Sequence[str]] = {
    "interpretability": HEADLINE,
    "faithfulness": FAITHFULNESS,
    "judged": ("win_rate", "autointerp"),
    "concepts": ("labelled_share", "steering_effect"),
    "probing": ("tpp", "sparse_probe_k", "scr", "absorption"),
    "stability": ("stability", "token_sensitivity"),
    "cost": ("fit_seconds", "encode_macs", "parameters"),
}
#: Command that measures the lead column of a group which a board may lack.
COMMANDS: Mapping[str, str] = {
    "judged": "harness judge",
    "concepts": "harness label",
    "stability": "harness stability",
}
_FURTHER: Mapping[str, Sequence[str]] = {
    "interpretability": (
        "ms_score_cls",
        "ms_score_external",
        "ms_score_external_adjusted",
        "ms_score_patch",
        "ms_score_reliability",
    ),
    "faithfulness": (
        *("agreement_recovered", "calibration_error", "calibration_error_change", "frechet_distance"),
        *("frechet_distance_absolute", "fvu", "r2_pooled"),
    ),
    "stability": ("stability_alive",),
    "geometry": (
        *("effective_rank", "effective_rank_share", "max_collinearity", "min_distinctness", "nearest_cosine_mean"),
        *("nearest_cosine_median", "nearest_cosine_p95", "unique_units", "unit_overlap", "unit_overlap_across"),
    ),
    "classes": ("class_purity", "class_purity_adjusted", "polysemanticity"),
    "probing": (
        *("sparse_probe_1", "sparse_probe_2", "sparse_probe_5", "sparse_probe_16", "sparse_probe_excess"),
        *("probe_dense_gain", "tpp_2", "tpp_5", "tpp_20", "absorption_excess", "absorption_missed", "absorption_rate"),
        *("probe_transfer_gain", "probe_transfer_drop", "probe_transfer_gain_change"),
        *("robust_corruption_gain", "robust_labels_gain", "robust_few_shot_gain"),
        *("scr_2", "scr_5", "scr_20"),
        *("ablation_specificity_gain", "ablation_effect", "patch_swap", "patch_swap_aligned"),
    ),
    "chance levels": (
        *("absorption_null", "ablation_specificity_control", "calibration_error_null", "calibration_error_original"),
        *("frechet_distance_floor", "ms_score_external_null"),
        *("patch_swap_non_aligned", "patch_swap_random", "patch_swap_shuffled_position", "patch_swap_ablate_elsewhere"),
        "patch_swap_grey",
        *("probe_dense_layer", "probe_transfer_layer", "tpp_random", "scr_random"),
        *("robust_corruption_layer", "robust_labels_layer", "robust_few_shot_layer"),
        "autointerp_control",
        "class_purity_chance",
        "ms_score_null",
        "ms_score_token_null",
        "polysemanticity_null",
    ),
}
_GROUP_OF: Mapping[str, str] = {metric: group for group, metrics in _FURTHER.items() for metric in metrics}
#: Groups in the order in which they are shown.
GROUPS = (*LEADERS, "geometry", "classes", "chance levels", lead_columns.OTHER)


def group_of(column: Column) -> str:
    """Return the group in which a column is shown; metrics of a plugin are "cost" or "other"."""
    return _GROUP_OF.get(column.metric) or lead_columns.group_of(column)


def leads(board: Board) -> dict[str, Column]:
    """Return group -> its lead column: of the first metric that the board has, the column with the most rows.

    Columns of one metric that are not ranked together, such as times of two devices, have different rows.
    """
    chosen: dict[str, Column] = {}
    for group, metrics in LEADERS.items():
        for metric in metrics:
            columns = [column for column in board.columns if column.metric == metric and _n_rows(board, column)]
            if columns:
                chosen[group] = max(columns, key=lambda column: _n_rows(board, column))
                break
    return chosen


def folded(board: Board) -> dict[str, list[Column]]:
    """Return group -> its columns other than the lead column, in the order in which they are shown."""
    lead_keys = {column.key for column in leads(board).values()}
    further = [column for column in sorted(board.columns, key=lead_columns.position) if column.key not in lead_keys]
    return {group: columns for group in GROUPS if (columns := [c for c in further if group_of(c) == group])}


def visible_columns(board: Board, unfolded: Sequence[str]) -> dict[str, list[Column]]:
    """Return group -> its visible columns: the lead column, and those of the `unfolded` groups."""
    lead_of, further = leads(board), folded(board)
    columns = {
        group: [*([lead_of[group]] if group in lead_of else []), *(further.get(group, []) if group in unfolded else [])]
        for group in GROUPS
    }
    return {group: members for group, members in columns.items() if members}


def _n_rows(board: Board, column: Column) -> int:
    return sum(column.key in row.metrics for row in board.rows)
