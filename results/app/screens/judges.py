"""Judges: who judged, how reliably, and the pairs of units they were shown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from results.app import (
    agreement_table,
    data,
    flags,
    navigation,
    panels,
    queries,
    queries_judging,
    queries_pairs,
    tables,
    widgets,
)
from results.app.gallery import Gallery, gallery_of
from results.app.judged_comparison import show_comparison, thumbnail
from results.app.queries import Record
from results.app.titles import compact, plain, visible
from results.app.widgets import Choice
from results.boards import judge_checks
from results.boards.panel_at_chance import at_chance
from results.boards.panel_kind import is_people, is_proxy
from results.minus_sign import with_minus
from results.people.ballot import ballot_ids
from results.store import Store

_PER_PAGE = 6
_GRID_PX = 150
#: Rows of the table of win rates that are shown without a scroll bar.
_MOST_ROWS = 25
#: Verdict -> colour of its badge and its icon.
_BADGES = {
    judge_checks.SOUND: ("green", ":material/check:"),
    judge_checks.ABOVE_CHANCE: ("gray", ":material/check:"),
    judge_checks.BIASED: ("red", ":material/compare_arrows:"),
    judge_checks.AT_CHANCE: ("red", ":material/casino:"),
    judge_checks.INVALID: ("red", ":material/block:"),
}


def render() -> None:
    """Show the page."""
    st.title("Judges")
    with data.page() as store:
        tournaments = queries_judging.tournaments(store)
        if not tournaments:
            st.info("No judgements in this store. `harness judge --suite demo --dry-run` counts the calls it takes.")
            _vote_link(None)
            return
        row_of_cell = data.rows_by_cell(store)
        titles = queries_judging.backbone_titles(store)
        tournament = _choose(tournaments, row_of_cell, titles)
        labels = _labels(store, tournament, row_of_cell)
        pair = st.query_params.get("pair")
        if pair is not None:
            panels.badge(str(tournament["panel"]))
            show_comparison(store, tournament, labels, pair, titles)
            return
        judged = {cell: row_of_cell[cell] for cell in labels if cell in row_of_cell}
        _reliability(tournament, titles)
        agreement_table.show_agreement(store, tournament["tournament"], titles)
        _vote_link(tournament["tournament"])
        _win_rates(store, tournament, labels, judged)
        flags.explain((f"{row.title} at {board.site}", row) for board, row in judged.values())
        _pairs(store, tournament, labels, titles)
        _notes(tournament, titles)


def _vote_link(tournament: str | None) -> None:
    """Show a link to the page on which people vote, if there is a ballot; on that of the tournament if it has one."""
    ids = ballot_ids(data.folder())
    if ids:
        navigation.link("vote", "Vote on pairs yourself", tournament=tournament if tournament in ids else None)


def _choose(
    tournaments: Sequence[Record], row_of_cell: Mapping[str, Choice], backbone_titles: Mapping[str, str]
) -> Record:
    """Let the reader choose a tournament; the newest one on the layer of the other pages comes first."""
    ids = [tournament["tournament"] for tournament in tournaments]
    titles = []
    for tournament in tournaments:
        when = "" if tournament["judged_at"] is None else f" · {tournament['judged_at']:%Y-%m-%d %H:%M}"
        backbone, site = tournament["backbone_title"] or "not scored yet", tournament["site"] or "–"
        panel = panels.panel_title(str(tournament["panel"]), backbone_titles)
        titles.append(visible(f"{backbone} · {site} · {panel}{when}"))
    unknown = "This store does not have the tournament that the address names."
    layer = widgets.chosen_layer([choice.board for choice in row_of_cell.values()])
    default = next((t["tournament"] for t in tournaments if (t["backbone_title"], t["site"]) == layer), None)
    chosen = widgets.select("Tournament", ids, "tournament", titles, default=default, unknown=unknown)
    return tournaments[ids.index(chosen)]


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


def _reliability(tournament: Record, titles: Mapping[str, str]) -> None:
    """Show the agreement of the panel in a sentence, and a line with a verdict per judge."""
    health = [row for row in tournament["health"] or () if isinstance(row, Mapping)]
    alpha = tournament["agreement"]
    n_judges = len(tournament["judges"] or ())
    chance = at_chance(str(tournament["panel"]), health, alpha, tournament["n_shared"])
    sentence = judge_checks.agreement_sentence(
        alpha if isinstance(alpha, float) else None, n_judges, at_chance=bool(chance)
    )
    st.header(plain(sentence), anchor=False)
    with st.container(horizontal=True, vertical_alignment="center"):
        panels.badge(str(tournament["panel"]))
        meaning = f" {panels.PROXY_MEANING}" if is_proxy(str(tournament["panel"])) else ""
        st.caption(f"Alpha is Krippendorff's: 0 is chance, 1 is perfect agreement.{meaning}", width="stretch")
    verdicts = [judge_checks.judge_verdict(row) for row in health]
    for verdict, name in zip(verdicts, panels.judge_names((entry.judge for entry in verdicts), titles), strict=True):
        colour, icon = _BADGES.get(verdict.verdict, ("gray", ":material/question_mark:"))
        name_column, reason = st.columns([2, 5], vertical_alignment="center")
        with name_column, st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f":{colour}-badge[{icon} {verdict.verdict}]")
            st.markdown(f"**{plain(name)}**")
        reason.markdown(plain(verdict.reason))
    if chance:
        st.warning(plain(f"Judges at chance: {chance}. No board ranks or marks their win rates."))
    if health and is_proxy(str(tournament["panel"])):
        st.caption("An encoder gives the same answer in both orders, so there is no position bias to test for.")
    _health(health, titles)


def _win_rates(store: Store, tournament: Record, labels: Mapping[str, str], judged: Mapping[str, Choice]) -> None:
    rates = queries_judging.win_rates(store, tournament["tournament"])
    if not rates:
        st.info("This tournament is not scored yet: judging was interrupted or is still running.")
        return
    st.header("Win rates", anchor=False)
    chance = at_chance(str(tournament["panel"]), tournament["health"], tournament["agreement"], tournament["n_shared"])
    ranked = not chance
    tables.show(
        {
            "rank": [_span(row["rank"], row["rank_low"], row["rank_high"]) if ranked else None for row in rates],
            "method": [next(map(labels.get, row["cell_ids"]), row["label"]) for row in rates],
            "win rate (%)": [_percent(row["win_rate"]) for row in rates],
            "95 % interval": [_interval(row["new_low"], row["new_high"]) for row in rates],
            "units": [row["n_units"] for row in rates],
            "group": [
                next((judged[cell].row.group for cell in row["cell_ids"] if cell in judged), "") for row in rates
            ],
            "decided": [row["n"] for row in rates],
            "no consensus": [row["ties"] for row in rates],
            "interval for these units": [_interval(row["ci_low"], row["ci_high"]) for row in rates],
            "strength (log-odds)": [row["strength"] for row in rates],
        },
        "Win rates of the methods.",
        placeholder="–",
        height="content" if len(rates) <= _MOST_ROWS else "auto",
        column_config={"strength (log-odds)": st.column_config.NumberColumn(format="%.3f")},
    )
    st.caption(
        "Win rate: mean over the other methods. Ranks are among all judged rows, flagged ones and controls included; "
        "the leaderboard leaves them out. The interval and the ranks say what to expect if other units of each method "
        "were judged, the interval for these units only what other pairings of the same units would give. Neither is "
        "for other fits, images or judges."
    )


def _notes(tournament: Record, titles: Mapping[str, str]) -> None:
    panel = panels.panel_title(str(tournament["panel"]), titles)
    st.caption(
        f"{plain(panel[:1].upper() + panel[1:])}, recorded as {plain(tournament['panel'])}. Prompt version "
        f"{plain(tournament['prompt_version'])}; {plain(compact(tournament['settings']))}."
    )
    notes = [str(note) for note in tournament["notes"] or ()]
    if tournament["n_missing"]:
        n = tournament["n_missing"]
        if is_people(str(tournament["panel"])):
            notes.append("1 comparison has no answer yet." if n == 1 else f"{n} comparisons have no answer yet.")
        else:
            notes.append(f"{n} replies are missing; `harness judge` requests them again.")
    if notes:
        with st.expander(f"{len(notes)} notes on this tournament" if len(notes) > 1 else "A note on this tournament"):
            for note in notes:
                st.text(visible(note))


def _health(rows: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> None:
    if not rows:
        return
    with st.expander("All measures of the judges"):
        tables.show(
            {
                "judge": panels.judge_names((row.get("judge") for row in rows), titles),
                "answers": [row.get("n") for row in rows],
                "invalid (%)": [_percent(row.get("invalid_rate")) for row in rows],
                "ties": [row.get("ties") for row in rows],
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
            "Healthy: the same choice in both orders near 100 % (50 % is chance), bias towards the first grid near 0, "
            "A on controls (two identical grids) near 50 %. Agreement with others: share of a judge's choices that "
            "another judge shares. Invalid: answers that stayed invalid after all attempts. Ties: answers of people "
            "that neither grid is better. First invalid: first replies that were invalid. Retried: valid answers from "
            "a later attempt."
        )


def _pairs(store: Store, tournament: Record, labels: Mapping[str, str], titles: Mapping[str, str]) -> None:
    st.header("Pairs of units", anchor=False)
    names = list(queries_pairs.FILTERS)
    filter_name = names[0]
    given = st.query_params.get("show") or st.session_state.get("chosen_show")
    chosen = st.pills(
        "Show", names, default=given if given in names else filter_name, key=f"show {tournament['tournament']}"
    )
    if chosen is not None:
        filter_name = str(chosen)
        widgets.remember("show", filter_name)
    left, right = st.columns(2)
    options = [None, *sorted(set(labels.values()))]
    method_a, method_b = (
        column.selectbox(label, options, format_func=lambda name: visible(name or "any"))
        for column, label in ((left, "Method"), (right, "against"))
    )
    cells_a, cells_b = (
        None if method is None else [cell for cell, label in labels.items() if label == method]
        for method in (method_a, method_b)
    )
    caption_slot = st.container()
    # The number of pages is known only from the rows, so the first query asks for the page that was chosen last.
    key = f"page {tournament['tournament']} {filter_name} {method_a} {method_b}"
    page = int(st.session_state.get(key, 1))
    frame = queries_pairs.judged(
        store,
        tournament["tournament"],
        filter_name=filter_name,
        cells_a=cells_a,
        cells_b=cells_b,
        limit=_PER_PAGE,
        offset=(page - 1) * _PER_PAGE,
    )
    if frame.empty:
        nobody = is_people(str(tournament["panel"])) and not tournament["n_comparisons"]
        st.text("Nobody has answered yet." if nobody else "No pair matches these filters.")
        return
    rows = queries.records(frame)
    total = int(rows[0]["total"])
    counted = "1 pair" if total == 1 else f"{total} pairs"
    caption_slot.caption(f"{counted}, each shown in both orders, in random order. A judge has one vote per order.")
    votes = queries_pairs.votes_of(store, tournament["tournament"], [row["pair_id"] for row in rows])
    cells = queries.cells(store, sorted({row[f"cell_{side}"] for row in rows for side in "12"}))
    galleries = {cell["cell_id"]: gallery_of(store, cell, outlined=False) for cell in cells}
    for row in rows:
        _pair(store, tournament, labels, row, who_voted(votes.get(row["pair_id"], []), titles), galleries)
    if total > _PER_PAGE:
        st.pagination(-(-total // _PER_PAGE), key=key)


def _pair(
    store: Store,
    tournament: Record,
    labels: Mapping[str, str],
    row: Record,
    voters: str,
    galleries: Mapping[str, Gallery],
) -> None:
    """Show one pair: both grids with their votes, the winner, and who voted for which."""
    first, second = (labels.get(row[f"cell_{side}"], row[f"cell_{side}"]) for side in "12")
    with st.container(border=True):
        grids = st.columns([3, 3, 5], vertical_alignment="center")
        for column, side, label in zip(grids, "12", (first, second), strict=False):
            with column:
                unit, cell_id = row[f"unit_{side}"], row[f"cell_{side}"]
                thumbnail(store, row[f"grid_{side}"], cell_id, unit, galleries.get(cell_id), _GRID_PX)
                st.caption(f"**{_votes(row[f'votes_{side}'])}** · {plain(label)}, unit {unit}")
        with grids[2]:
            st.markdown(f"**{plain(outcome(row, first, second))}**")
            st.text(visible(voters))
            address = {"tournament": tournament["tournament"], "pair": row["pair_id"], "order": row["first_order"]}
            navigation.link("judges", "Grids and replies", **address)


def outcome(row: Record, first: str, second: str) -> str:
    """Return what the votes on a pair over both orders decide."""
    votes = f"{max(row['votes_1'], row['votes_2'])} to {min(row['votes_1'], row['votes_2'])}"
    if row["is_control"]:
        return f"Control, the same grid twice: {votes}"
    if row["wins_1"] == row["wins_2"]:
        return f"No winner, {votes}{': each order has another winner' if row['wins_1'] else ''}"
    return f"{first if row['wins_1'] > row['wins_2'] else second} wins, {votes}"


def who_voted(votes: Sequence[Record], titles: Mapping[str, str] | None = None) -> str:
    """Return which judges chose the left grid, the right one, each in one order, or none."""
    sides: dict[str, list[str]] = {"left": [], "right": [], "changed with the order": [], "no valid answer": []}
    names = panels.judge_names((vote["judge"] for vote in votes), titles)
    for vote, name in zip(votes, names, strict=True):
        first, second = vote["votes_1"], vote["votes_2"]
        kind = ("changed with the order" if second else "left") if first else "right" if second else "no valid answer"
        sides[kind].append(name)
    return " · ".join(f"{side}: {', '.join(names)}" for side, names in sides.items() if names)


def _votes(number: int) -> str:
    return "1 vote" if number == 1 else f"{number} votes"


def _percent(value: float | str | None) -> str:
    return _number(value, factor=100, digits=1)


def _number(value: float | str | None, *, factor: int = 1, digits: int = 3) -> str:
    # In JSON columns NaN is the text "NaN".
    if value is None or isinstance(value, str) or math.isnan(value):
        return "–"
    return with_minus(f"{factor * value:.{digits}f}")


def _interval(low: float | None, high: float | None) -> str:
    return "–" if _percent(low) == "–" else f"{_percent(low)} to {_percent(high)}"


def _span(rank: Any, low: Any, high: Any) -> str:
    if rank is None:
        return "–"
    return str(rank) if low == high else f"{rank} [{low}–{high}]"


if __name__ == "__main__":
    render()
