"""Judges: each comparison with both grids, every judge's reply and the consensus; and the reliability of judges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from results.app import data, navigation, queries, queries_judging, widgets
from results.app.gallery import gallery_of
from results.app.titles import compact, plain, visible
from results.store import Store

_PER_PAGE = 12


def render() -> None:
    """Show the page."""
    st.title("Judges")
    with data.page() as store:
        frame = queries_judging.tournaments(store)
        if frame.empty:
            st.info("No judgements in this store. `harness judge --suite demo --dry-run` counts the calls it takes.")
            return
        tournament = _choose(frame)
        labels = queries_judging.labels(store, tournament["tournament"])
        pair = st.query_params.get("pair")
        if pair is not None:
            _comparison(store, tournament, labels, pair)
            return
        _results(store, tournament)
        _health(tournament)
        _list(store, tournament, labels)


def _choose(frame: pd.DataFrame) -> Mapping[Any, Any]:
    records: list[dict[Any, Any]] = frame.astype(object).to_dict("records")
    ids = [str(record["tournament"]) for record in records]

    def title(record: Mapping[Any, Any]) -> str:
        when = "" if record["judged_at"] is None else f" · {record['judged_at']:%Y-%m-%d %H:%M}"
        return visible(
            f"{record['backbone_title'] or 'not scored yet'} · {record['site'] or '–'} · {record['panel']}{when}"
        )

    unknown = "This store does not have the tournament that the address names."
    chosen = widgets.select("Tournament", ids, "tournament", [title(record) for record in records], unknown=unknown)
    return records[ids.index(chosen)]


def _results(store: Store, tournament: Mapping[Any, Any]) -> None:
    kind, _, judges = str(tournament["panel"]).partition(":")
    what = "a proxy panel of image encoders, not language models" if kind == "proxy" else f"{kind} judges"
    st.caption(
        f"Judged by {plain(what)} ({plain(judges.replace('+', ', '))}), prompt version "
        f"{plain(tournament['prompt_version'])}; {plain(compact(tournament['settings']))}."
    )
    rates = queries_judging.win_rates(store, tournament["tournament"])
    if rates.empty:
        st.info("This tournament is not scored yet: judging was interrupted or is still running.")
    else:
        st.subheader("Win rates")
        records = rates.astype(object).to_dict("records")
        st.dataframe(
            pd.DataFrame(
                {
                    "method": [visible(row["label"]) for row in records],
                    "win rate (%)": [_percent(row["win_rate"]) for row in records],
                    "95 % interval": [f"{_percent(row['ci_low'])} to {_percent(row['ci_high'])}" for row in records],
                    "rank": [_span(row["rank"], row["rank_low"], row["rank_high"]) for row in records],
                    "strength (natural-log odds)": [row["strength"] for row in records],
                    "decided": [row["n"] for row in records],
                    "ties": [row["ties"] for row in records],
                }
            ),
            hide_index=True,
            column_config={"strength (natural-log odds)": st.column_config.NumberColumn(format="%.3f")},
            alt="Win rates of the methods.",
        )
    notes = [str(note) for note in tournament["notes"] or ()]
    if tournament["n_missing"]:
        notes.append(f"{tournament['n_missing']} replies are missing; `harness judge` requests them again.")
    for note in notes:
        st.info(plain(note))


def _health(tournament: Mapping[Any, Any]) -> None:
    rows = tournament["health"] or []
    if not rows:
        return
    st.subheader("Judge health")
    frame = pd.DataFrame(
        {
            "judge": [visible(row.get("judge")) for row in rows],
            "answers": [row.get("n") for row in rows],
            "invalid (%)": [_percent(row.get("invalid_rate")) for row in rows],
            "same in both orders (%)": [_percent(row.get("swap_consistency")) for row in rows],
            "bias (−1 to 1)": [_plain_number(row.get("position_bias")) for row in rows],
            "A if identical (%)": [_percent(row.get("control_a")) for row in rows],
            "controls": [row.get("n_controls") for row in rows],
            "agreement with others (%)": [_percent(row.get("agreement")) for row in rows],
        }
    )
    st.dataframe(frame, hide_index=True, alt="Health of each judge.")
    st.caption(
        f"Krippendorff's alpha of the panel {_plain_number(tournament['agreement'])} (1 perfect, 0 chance). Healthy: "
        "the same choice in both orders near 100 % (50 % is chance), bias towards the first grid near 0, A on controls "
        "(two identical grids) near 50 %. Agreement with others: share of a judge's choices that another judge shares."
    )


def _list(store: Store, tournament: Mapping[Any, Any], labels: Mapping[str, str]) -> None:
    st.subheader("Comparisons")
    left, middle, right = st.columns(3)
    names = sorted(set(labels.values()))
    with left:
        filter_name = widgets.select("Show", list(queries_judging.FILTERS), "show", list(queries_judging.FILTERS))
    with middle:
        one = st.selectbox("Method", [None, *names], format_func=lambda name: visible(name or "any"))
    with right:
        other = st.selectbox("against", [None, *names], format_func=lambda name: visible(name or "any"))
    if one is None and other is not None:
        one, other = other, None
    filters = {
        "cells_a": None if one is None else [cell for cell, label in labels.items() if label == one],
        "cells_b": None if other is None else [cell for cell, label in labels.items() if label == other],
    }
    caption_slot = st.container()
    # The number of pages is known only from the rows, so the first query asks for the page that was chosen last.
    key = f"page {tournament['tournament']} {filter_name} {one} {other}"
    page = int(st.session_state.get(key, 1))
    frame = queries_judging.presentations(
        store,
        tournament["tournament"],
        filter_name=filter_name,
        limit=_PER_PAGE,
        offset=(page - 1) * _PER_PAGE,
        **filters,
    )
    if frame.empty:
        st.text("No comparison matches these filters.")
        return
    total = int(frame["total"][0])
    with caption_slot:
        st.caption(f"{total} presentations, each a pair of units in one order.")
    for row in frame.to_dict("records"):
        a, b = labels.get(row["cell_a"], row["cell_a"]), labels.get(row["cell_b"], row["cell_b"])
        words = f"A: {a}, unit {row['unit_a']} · B: {b}, unit {row['unit_b']}"
        verdict = _verdict(row, a, b)
        first, second = st.columns([2, 1])
        with first:
            navigation.link(
                "judges",
                plain(words),
                tournament=tournament["tournament"],
                pair=row["pair_id"],
                order=row["order"],
            )
        with second:
            st.text(visible(verdict))
    if total > _PER_PAGE:
        st.pagination(-(-total // _PER_PAGE), key=key)


def _verdict(row: Mapping[Any, Any], a: str, b: str) -> str:
    votes = f"{row['n_a']} : {row['n_b']}"
    if row["grid_a"] == row["grid_b"]:
        return f"control, {votes}"
    winner = {"A": a, "B": b}.get(row["consensus"])
    return f"{votes}, a tie" if winner is None else f"{votes}, {winner}"


def _comparison(store: Store, tournament: Mapping[Any, Any], labels: Mapping[str, str], pair: str) -> None:
    navigation.link("judges", "← all comparisons", tournament=tournament["tournament"])
    text = st.query_params.get("order", "0")
    order = int(text) if text in ("0", "1") else 0
    frame = queries_judging.presentation(store, tournament["tournament"], pair, order)
    if frame.empty:
        st.warning("This tournament has no such comparison.")
        return
    row = frame.to_dict("records")[0]
    a, b = labels.get(row["cell_a"], row["cell_a"]), labels.get(row["cell_b"], row["cell_b"])
    st.subheader(f"{plain(a)}, unit {row['unit_a']} against {plain(b)}, unit {row['unit_b']}")
    st.text(visible(f"Consensus: {_verdict(row, a, b)}"))
    navigation.link(
        "judges",
        "Same pair in the other order",
        tournament=tournament["tournament"],
        pair=pair,
        order=1 - order,
    )
    sides = st.columns(2)
    for column, side, label in zip(sides, ("a", "b"), (a, b), strict=True):
        with column:
            st.markdown(f"**Grid {side.upper()}: {plain(label)}**")
            _grid(store, row, side)
            navigation.link(
                "units", f"Open unit {row[f'unit_{side}']}", cell=row[f"cell_{side}"], unit=row[f"unit_{side}"]
            )
    st.subheader("Replies of the judges")
    replies = queries_judging.replies(store, tournament["tournament"], row["grid_a"], row["grid_b"])
    for reply in replies.astype(object).to_dict("records"):
        _reply(reply)


def _grid(store: Store, row: Mapping[Any, Any], side: str) -> None:
    key, unit = str(row[f"grid_{side}"]), int(row[f"unit_{side}"])
    file = store.path.parent / "grids" / key[:2] / f"{key}.jpg"
    try:
        # A key of the store is a file name; an invalid one finds nothing.
        picture = file.read_bytes() if key.isalnum() else None
    except OSError:
        picture = None
    if picture is not None:
        st.image(picture, alt=f"Grid {side.upper()}: the nine strongest images of unit {unit}.", width=480)
        return
    cells = queries.cells(store, [row[f"cell_{side}"]])
    units = queries.units_by_number(store, row[f"cell_{side}"], [unit])
    if cells.empty or units.empty:
        st.text("Neither the file of this grid nor its unit is in the store.")
        return
    gallery = gallery_of(store, cells.to_dict("records")[0], outlined=False)
    gallery.prepare(store, units)
    gallery.show(units.to_dict("records")[0], count=9, tile_px=150, columns=3, what=f"unit {unit}")
    st.caption("Drawn from the unit's top images: the judges used no grid file, or it is missing beside the store.")
    gallery.explain()


def _reply(reply: Mapping[Any, Any]) -> None:
    with st.container(border=True):
        # All of this text is untrusted: it is shown as text, never as Markdown or HTML.
        st.text(visible(reply["judge"]))
        if reply["attempt"] is None:
            st.text("No reply yet.")
            return
        answer = reply["answer"] or f"invalid ({reply['problem'] or 'no reason recorded'})"
        attempts = "" if int(reply["attempt"]) == 1 else f", attempt {reply['attempt']}"
        st.text(visible(f"Answer: {answer}{attempts}"))
        for side in ("a", "b"):
            if reply[f"reasoning_{side}"]:
                st.text(visible(f"{side.upper()}: {reply[f'reasoning_{side}']}"))
        if reply["raw"]:
            with st.expander("Raw reply"):
                st.code(visible(reply["raw"]), language=None, wrap_lines=True)


def _percent(value: Any) -> str:
    number = _number(value)
    return "–" if number is None else f"{100 * number:.1f}"


def _plain_number(value: Any) -> str:
    number = _number(value)
    return "–" if number is None else f"{number:.3f}"


def _number(value: Any) -> float | None:
    # In JSON columns NaN is the text "NaN".
    if value is None or isinstance(value, str):
        return None
    number = float(value)
    return None if number != number else number


def _span(rank: Any, low: Any, high: Any) -> str:
    if rank is None:
        return "–"
    return str(rank) if low == high else f"{rank} [{low}–{high}]"


if __name__ == "__main__":
    render()
