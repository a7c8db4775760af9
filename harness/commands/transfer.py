"""``harness transfer``: compare the units of each fit on two image sets."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.options import DEFAULT_STORE, MOST_SEED, JsonOption, StoreOption, verb
from harness.commands.output import out_short, print_json, print_text_table

if TYPE_CHECKING:
    from results.comparison.transfer_probes import ProbeTransfers

#: Columns of probes.
PROBES = ("sparse probe (%)", "probe transfer (%)", "gain over layer", "change of gain")
_PROBE_NOTE = (
    "sparse probe: accuracy with few units on all labelled images of the first / on those of the second set in classes "
    "of the first; for both, units are chosen and probes are fitted on the probing images of the first set, with all "
    "its classes, so compare sets that share all classes. Probe transfer: accuracy of a probe of all units, "
    "fitted on the first set, on the images of shared classes of the first / of the second. Gain over layer: on the "
    "second set, less the accuracy of a probe of the layer's neurons, in percentage points, paired over images; change "
    "of gain: less the gain on the first set. 95 % intervals."
)


@verb("harness transfer --store outputs/results.duckdb --json")
def transfer(
    store: StoreOption = DEFAULT_STORE,
    seed: Annotated[int, typer.Option(help="Random seed of the bootstrap.", min=0, max=MOST_SEED)] = 0,
    as_json: JsonOption = False,
) -> None:
    """Compare the units of each fit on two image sets.

    Of each fit that was evaluated on several sets (data.evaluation_sets of a suite): the share of its units that stay
    alive, the rank correlation of their MS scores, the share that keep their concept label (`harness label`), with
    its chance level, and the accuracy of probes (metrics sparse_probe_k and probe_transfer). Runs nothing.
    """
    from results.comparison.transfer import as_json as objects
    from results.comparison.transfer import transfers
    from results.store import open_store
    from results.tables import Table
    from results.visible_text import visible

    made = transfers(open_store(store), seed=seed)
    if as_json:
        return print_json(list(objects(made)))
    if not made:
        out_short(
            "No fit was evaluated on two image sets: run a suite with --set \"data.evaluation_sets=['folder:PATH']\"."
        )
        return None

    def number(value: float, form: str = ".2f", factor: float = 1.0) -> str:
        return "" if math.isnan(value) else format(factor * value, form)

    rows = [
        [
            visible(each.label, keep=""),
            f"{visible(each.backbone, keep='')} {visible(each.site, keep='')}",
            "" if each.token_seed is None else str(each.token_seed),
            f"{visible(each.first, '')} to {visible(each.second, '')}",
            number(each.kept_alive, ".1f", 100),
            f"{number(each.ms_first)} / {number(each.ms_second)}",
            ""
            if math.isnan(each.rank_correlation)
            else f"{each.rank_correlation:+.2f}"
            + ("" if math.isnan(each.low) else f" [{each.low:+.2f}, {each.high:+.2f}]"),
            str(each.n),
            number(each.same_label, ".1f", 100),
            number(each.label_chance, ".1f", 100),
            str(each.n_labelled) if each.scorer else "",
            *_probe_texts(each.probes),
        ]
        for each in made
    ]
    columns = (
        *("method", "layer", "token seed", "image sets", "stay alive (%)", "MS score", "rank correlation", "units"),
        *("same label (%)", "by chance", "labelled", *PROBES),
    )
    # Of the probes, a run measures those that it was asked for.
    kept = [index for index, name in enumerate(columns) if name not in PROBES or any(row[index] for row in rows)]
    notes = (
        "stay alive: share of the units that are alive on the first set. MS score: means over the units with one on "
        "both sets. Rank correlation: Spearman's, of these, with a 95 % interval (neurons redrawn). Same label: share "
        "of the units with a label above the null on both sets; by chance: if the labels were permuted.",
        *([_PROBE_NOTE] if len(kept) > len(columns) - len(PROBES) else []),
        *(
            f"{visible(name, '')} is not the set of the fit, on which no cell was evaluated, but the one that was "
            "measured first."
            for name in dict.fromkeys(each.first for each in made if not each.fitted_on_first)
        ),
    )
    chosen = [[row[index] for index in kept] for row in rows]
    return print_text_table(Table("transfer of units", [columns[index] for index in kept], chosen, notes=notes))


def _probe_texts(probes: ProbeTransfers) -> list[str]:
    """Return the texts of the columns of probes, in per cent; empty for what was not measured."""

    def with_interval(value: float, low: float, high: float, form: str) -> str:
        if math.isnan(value):
            return ""
        interval = "" if math.isnan(low) else f" [{100 * low:{form}}, {100 * high:{form}}]"
        return f"{100 * value:{form}}{interval}"

    sparse = (probes.sparse_first, probes.sparse_second)
    first = "" if math.isnan(probes.probe_first) else f"{100 * probes.probe_first:.1f} / "
    probe = with_interval(probes.probe, probes.probe_low, probes.probe_high, ".1f")
    return [
        "" if any(map(math.isnan, sparse)) else " / ".join(f"{100 * value:.1f}" for value in sparse),
        first + probe if probe else "",
        with_interval(probes.gain, probes.gain_low, probes.gain_high, "+.1f"),
        with_interval(probes.change, probes.change_low, probes.change_high, "+.1f"),
    ]
