"""``harness robustness``: check if probes on codes are more robust than probes on the layer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from harness.commands.options import DEFAULT_STORE, JsonOption, StoreOption, verb
from harness.commands.output import out_short, print_json, print_text_table

if TYPE_CHECKING:
    from results.comparison.robust_sides import Difference
    from results.comparison.robustness import Answer, Robustness
    from results.tables import Table


@verb("harness robustness --store outputs/results.duckdb --json")
def robustness(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """Check if probes on the codes of a method are more robust than probes on the layer.

    For each method and each disturbance (corrupted images, wrong labels, few images, another image set): accuracy of
    probes on codes and layer, the gain with a 95 % interval, the same against a random control with as many units, and
    the answer: yes, no or not decidable. Reads the cells of `harness run --suite robustness`; runs nothing. See
    docs/robustness.md.
    """
    from results.comparison.robustness import answers
    from results.comparison.robustness import as_json as objects
    from results.comparison.robustness import robustness as rows_of
    from results.store import open_store

    rows = rows_of(open_store(store))
    if as_json:
        return print_json(objects(rows))
    if not rows:
        out_short("No cell has a measure of robustness: run `harness run --suite robustness`.")
        return None
    for layer in dict.fromkeys(row.layer_and_images for row in rows):
        print_text_table(_table([row for row in rows if row.layer_and_images == layer]))
    return print_text_table(_answer_table(answers(rows)))


def _table(rows: list[Robustness]) -> Table:
    from results.comparison.robustness import RULE
    from results.tables import Table
    from results.visible_text import visible

    first = rows[0]
    columns = (
        *("method", "token seed", "disturbance", "codes", "layer", "majority", "gain [95 %]", "images", "more robust?"),
        *("clean: codes", "layer", "gain less clean gain", "control", "gain less control's", "more than control?"),
        "claim",
    )
    texts = [
        [
            visible(row.label, keep=""),
            "" if row.token_seed is None else str(row.token_seed),
            row.kind,
            _percent(row.codes),
            _percent(row.layer),
            _percent(row.majority),
            _interval(row.gain),
            str(row.gain.n),
            row.verdict + (" (at chance)" if row.at_chance else ""),
            _percent(row.clean_codes),
            _percent(row.clean_layer),
            _interval(row.beyond_clean),
            "" if row.control is None else visible(row.control, keep=""),
            _interval(row.beyond_control),
            "" if row.control is None else row.control_verdict,
            "" if row.is_control else row.claim,
        ]
        for row in rows
    ]
    numeric = [column in (3, 4, 5, 7, 9, 10) for column in range(len(columns))]
    notes = (
        "accuracies in percent, differences in percentage points, with uncorrected 95 % intervals. "
        "Majority: accuracy of always naming the most frequent class.",
        RULE,
    )
    backbone, site, dataset = (visible(text, keep="") for text in (first.backbone, first.site, first.dataset))
    title = f"{backbone} at {site}, {dataset or 'unnamed images'}: robustness of probes"
    return Table(title, columns, texts, numeric, notes)


def _answer_table(answered: list[Answer]) -> Table:
    from results.tables import Table
    from results.visible_text import visible

    rows = [
        [
            *(visible(text, keep="") for text in (answer.label, answer.backbone, answer.site, answer.dataset)),
            "" if answer.token_seed is None else str(answer.token_seed),
            str(answer.n_kinds),
            str(answer.yes),
            str(answer.no),
            answer.answer,
        ]
        for answer in answered
    ]
    columns = ("method", "backbone", "site", "image set", "token seed", "disturbances", "yes", "no", "answer")
    note = "yes: the claim holds under every disturbance. No: it does not hold under one."
    return Table("Are its features more robust?", columns, rows, notes=(note,))


def _percent(value: float) -> str:
    return f"{100 * value:.1f}" if math.isfinite(value) else ""


def _interval(difference: Difference) -> str:
    if not math.isfinite(difference.value):
        return ""
    if not math.isfinite(difference.low):
        return f"{100 * difference.value:+.1f}"
    return f"{100 * difference.value:+.1f} [{100 * difference.low:+.1f}, {100 * difference.high:+.1f}]"
