"""Judges: each comparison with both grids, every judge's reply and the consensus; and the reliability of judges."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from results.app import data, flags, navigation, queries, queries_judging, tables, widgets
from results.app.gallery import gallery_of
from results.app.queries import Record
from results.app.titles import compact, plain, visible
from results.app.widgets import Choice
from results.store import Store

_PER_PAGE = 12


def render() -> None:
    """Show the page."""
    st.title("Judges")
    with data.page() as store:
        tournaments = queries_judging.tournaments(store)
        if not tournaments:
            st.info("No judgements in this store. `harness judge --suite demo --dry-run` counts the calls it takes.")
            return
        tournament = _choose(tournaments)
        row_of_cell = data.rows_by_cell(store)
        labels = _labels(store, tournament, row_of_cell)
        pair = st.query_params.get("pair")
        if pair is not None:
            _comparison(store, tournament, labels, pair)
            return
        judged = {cell: row_of_cell[cell] for cell in labels if cell in row_of_cell}
        _results(store, tournament, labels, judged)
        flags.explain((f"{row.title} at {board.site}", row) for board, row in judged.values())
        _health(tournament)
        _list(store, tournament, labels)


def _choose(tournaments: Sequence[Record]) -> Record:
    ids = [tournament["tournament"] for tournament in tournaments]
    titles = []
    for tournament in tournaments:
        when = "" if tournament["judged_at"] is None else f" · {tournament['judged_at']:%Y-%m-%d %H:%M}"
        backbone, site = tournament["backbone_title"] or "not scored yet", tournament["site"] or "–"
        titles.append(visible(f"{backbone} · {site} · {tournament['panel']}{when}"))
    unknown = "This store does not have the tournament that the address names."
    return tournaments[ids.index(widgets.select("Tournament", ids, "tournament", titles, unknown=unknown))]


def _labels(store: Store, tournament: Record, row_of_cell: Mapping[str, Choice]) -> dict[str, str]:
    """Return cell id -> label of the cells of a tournament, with the flags of their rows."""
    labels = queries_judging.labels(store, tournament["tournament"])
    flagged = {cell: row_of_cell[cell].row for cell in labels if cell in row_of_cell}
    return {
        cell: f"{label} [{', '.join(flag.name for flag in flagged[cell].flags)}]"
        if cell in flagged and flagged[cell].flags
        else label
        for cell, label in labels.items()
    }


def _results(store: Store, tournament: Record, labels: Mapping[str, str], judged: Mapping[str, Choice]) -> None:
    kind, _, judges = str(tournament["panel"]).partition(":")
    what = "a proxy panel of image encoders, not language models" if kind == "proxy" else f"{kind} judges"
    st.caption(
        f"Judged by {plain(what)} ({plain(judges.replace('+', ', '))}), prompt version "
        f"{plain(tournament['prompt_version'])}; {plain(compact(tournament['settings']))}."
    )
    rates = queries_judging.win_rates(store, tournament["tournament"])
    if not rates:
        st.info("This tournament is not scored yet: judging was interrupted or is still running.")
    else:
        st.subheader("Win rates")
        tables.show(
            {
                "method": [next(map(labels.get, row["cell_ids"]), row["label"]) for row in rates],
                "group": [
                    next((judged[cell].row.group for cell in row["cell_ids"] if cell in judged), "") for row in rates
                ],
                "win rate (%)": [_percent(row["win_rate"]) for row in rates],
                "95 %, new units": [_interval(row["new_low"], row["new_high"]) for row in rates],
                "95 %, these units": [_interval(row["ci_low"], row["ci_high"]) for row in rates],
                "rank": [_span(row["rank"], row["rank_low"], row["rank_high"]) for row in rates],
                "strength (natural-log odds)": [row["strength"] for row in rates],
                "units": [row["n_units"] for row in rates],
                "decided": [row["n"] for row in rates],
                "no consensus": [row["ties"] for row in rates],
            },
            "Win rates of the methods.",
            placeholder="–",
            column_config={"strength (natural-log odds)": st.column_config.NumberColumn(format="%.3f")},
        )
        st.caption(
            f"Panel agreement {_number(tournament['agreement'])} (Krippendorff's alpha: 1 perfect, 0 chance). Win "
            "rate: mean over the other methods. Ranks are among all judged rows, flagged ones and controls included; "
            "the leaderboard leaves them out. Interval and rank for new units: what to expect if other units of "
            "each method were judged. The interval for these units is about other pairings of the judged ones; if "
            "units differ, it covers more than 95 %. Neither is for other fits, images or judges."
        )
    notes = [str(note) for note in tournament["notes"] or ()]
    if tournament["n_missing"]:
        notes.append(f"{tournament['n_missing']} replies are missing; `harness judge` requests them again.")
    if notes:
        st.info("  \n".join(map(plain, notes)))


def _health(tournament: Record) -> None:
    rows = tournament["health"]
    if not rows:
        return
    st.subheader("Judge health")
    tables.show(
        {
            "judge": [row.get("judge") for row in rows],
            "answers": [row.get("n") for row in rows],
            "invalid (%)": [_percent(row.get("invalid_rate")) for row in rows],
            "first invalid (%)": [_percent(row.get("first_invalid_rate")) for row in rows],
            "retried (%)": [_percent(row.get("retried_rate")) for row in rows],
            "same in both orders (%)": [_percent(row.get("swap_consistency")) for row in rows],
            "bias (−1 to 1)": [_number(row.get("position_bias")) for row in rows],
            "A if identical (%)": [_percent(row.get("control_a")) for row in rows],
            "controls": [row.get("n_controls") for row in rows],
            "agreement with others (%)": [_percent(row.get("agreement")) for row in rows],
        },
        "Health of each judge.",
        placeholder="–",
    )
    st.caption(
        "Healthy: the same choice in both orders near 100 % (50 % is chance), bias towards the first grid near 0, A on "
        "controls (two identical grids) near 50 %. Agreement with others: share of a judge's choices that another "
        "judge shares. Invalid: answers that stayed invalid after all attempts. First invalid: first replies that were "
        "invalid. Retried: valid answers from a later attempt."
    )


def _list(store: Store, tournament: Record, labels: Mapping[str, str]) -> None:
    st.subheader("Comparisons")
    left, middle, right = st.columns(3)
    with left:
        filter_name = widgets.select("Show", list(queries_judging.FILTERS), "show", list(queries_judging.FILTERS))
    options = [None, *sorted(set(labels.values()))]
    method_a, method_b = (
        column.selectbox(label, options, format_func=lambda name: visible(name or "any"))
        for column, label in ((middle, "Method"), (right, "against"))
    )
    cells_a, cells_b = (
        None if method is None else [cell for cell, label in labels.items() if label == method]
        for method in (method_a, method_b)
    )
    caption_slot = st.container()
    # The number of pages is known only from the rows, so the first query asks for the page that was chosen last.
    key = f"page {tournament['tournament']} {filter_name} {method_a} {method_b}"
    page = int(st.session_state.get(key, 1))
    frame = queries_judging.presentations(
        store,
        tournament["tournament"],
        filter_name=filter_name,
        cells_a=cells_a,
        cells_b=cells_b,
        limit=_PER_PAGE,
        offset=(page - 1) * _PER_PAGE,
    )
    if frame.empty:
        st.text("No comparison matches these filters.")
        return
    total = int(frame["total"][0])
    caption_slot.caption(f"{total} presentations, each a pair of units in one order.")
    for row in queries.records(frame):
        a, b = (labels.get(row[cell], row[cell]) for cell in ("cell_a", "cell_b"))
        words = plain(f"A: {a}, unit {row['unit_a']} · B: {b}, unit {row['unit_b']}")
        first, second = st.columns([2, 1])
        with first:
            address = {"tournament": tournament["tournament"], "pair": row["pair_id"], "order": row["order"]}
            navigation.link("judges", words, **address)
        second.text(visible(_verdict(row, a, b)))
    if total > _PER_PAGE:
        st.pagination(-(-total // _PER_PAGE), key=key)


def _verdict(row: Record, a: str, b: str) -> str:
    votes = f"{row['n_a']} : {row['n_b']}"
    if row["grid_a"] == row["grid_b"]:
        return f"control, {votes}"
    winner = {"A": a, "B": b}.get(row["consensus"])
    if winner is not None:
        return f"{votes}, {winner}"
    return f"{votes}, a tie" if row["n_a"] == row["n_b"] > 0 else f"{votes}, undecided"


def _comparison(store: Store, tournament: Record, labels: Mapping[str, str], pair: str) -> None:
    navigation.link("judges", "← all comparisons", tournament=tournament["tournament"])
    text = st.query_params.get("order", "0")
    order = int(text) if text in ("0", "1") else 0
    row = queries_judging.presentation(store, tournament["tournament"], pair, order)
    if row is None:
        st.warning("This tournament has no such comparison.")
        return
    a, b = (labels.get(row[cell], row[cell]) for cell in ("cell_a", "cell_b"))
    st.subheader(f"{plain(a)}, unit {row['unit_a']} against {plain(b)}, unit {row['unit_b']}")
    st.text(visible(f"Consensus: {_verdict(row, a, b)}"))
    address = {"tournament": tournament["tournament"], "pair": pair, "order": 1 - order}
    navigation.link("judges", "Same pair in the other order", **address)
    for column, side, label in zip(st.columns(2), "ab", (a, b), strict=True):
        with column:
            st.markdown(f"**Grid {side.upper()}: {plain(label)}**")
            _grid(store, row, side)
            navigation.link(
                "units", f"Open unit {row[f'unit_{side}']}", cell=row[f"cell_{side}"], unit=row[f"unit_{side}"]
            )
    st.subheader("Replies of the judges")
    for reply in queries_judging.replies(store, tournament["tournament"], row["grid_a"], row["grid_b"]):
        _reply(reply)


def _grid(store: Store, row: Record, side: str) -> None:
    key, number, cell_id = row[f"grid_{side}"], row[f"unit_{side}"], row[f"cell_{side}"]
    file = store.path.parent / "grids" / key[:2] / f"{key}.jpg"
    try:
        # A key of the store is a file name; an invalid one finds nothing.
        picture = file.read_bytes() if key.isalnum() else None
    except OSError:
        picture = None
    if picture is not None:
        st.image(picture, alt=f"Grid {side.upper()}: the nine strongest images of unit {number}.", width=480)
        return
    cells, unit = queries.cells(store, [cell_id]), queries.unit_by_number(store, cell_id, number)
    if not cells or unit is None:
        st.text("Neither the file of this grid nor its unit is in the store.")
        return
    gallery = gallery_of(store, cells[0], outlined=False)
    gallery.prepare(store, [unit])
    gallery.show(unit, f"unit {number}", tile_px=150, columns=3)
    st.caption("Drawn from the unit's top images: the judges used no grid file, or it is missing beside the store.")
    gallery.explain()


def _reply(reply: Record) -> None:
    with st.container(border=True):
        # All of this text is untrusted: it is shown as text, never as Markdown or HTML.
        st.text(visible(reply["judge"]))
        if reply["attempt"] is None:
            st.text("No reply yet.")
            return
        answer = reply["answer"] or f"invalid ({reply['problem'] or 'no reason recorded'})"
        attempts = "" if reply["attempt"] == 1 else f", attempt {reply['attempt']}"
        st.text(visible(f"Answer: {answer}{attempts}"))
        for side in ("a", "b"):
            if reply[f"reasoning_{side}"]:
                st.text(visible(f"{side.upper()}: {reply[f'reasoning_{side}']}"))
        if reply["raw"]:
            with st.expander("Raw reply"):
                st.code(visible(reply["raw"]), language=None, wrap_lines=True)


def _percent(value: float | str | None) -> str:
    return _number(value, factor=100, digits=1)


def _number(value: float | str | None, *, factor: int = 1, digits: int = 3) -> str:
    # In JSON columns NaN is the text "NaN".
    if value is None or isinstance(value, str) or math.isnan(value):
        return "–"
    return f"{factor * value:.{digits}f}"


def _interval(low: float | None, high: float | None) -> str:
    return "–" if _percent(low) == "–" else f"{_percent(low)} to {_percent(high)}"


def _span(rank: Any, low: Any, high: Any) -> str:
    if rank is None:
        return "–"
    return str(rank) if low == high else f"{rank} [{low}–{high}]"


if __name__ == "__main__":
    render()
