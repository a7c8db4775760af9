"""Units gained and lost between two methods, as image grids: those of common neurons, else those that were judged."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from results.app import panels, queries, queries_judging, queries_unit_pairs
from results.app.gallery import gallery_of
from results.app.titles import plain
from results.app.unit_pairs import UnitCard, show_cards
from results.app.widgets import Choice
from results.minus_sign import with_minus
from results.store import Store

#: Cards of a row of the page; the reader may ask for more.
_N_FIRST, _N_MORE = 3, 9


def show_units(store: Store, a: Choice, b: Choice) -> None:
    """Show the units gained and lost by A over B, for the first pair of seeds that both have."""
    sides = [queries.finished_cells(store, choice.row.cell_ids) for choice in (a, b)]
    if not all(sides):
        return
    seeds = {(cell["token_seed"], cell["init_seed"]): cell for cell in sides[1]}
    first = next((cell for cell in sides[0] if (cell["token_seed"], cell["init_seed"]) in seeds), sides[0][0])
    second = seeds.get((first["token_seed"], first["init_seed"]), sides[1][0])
    cells = (first["cell_id"], second["cell_id"])
    limit = _N_MORE if st.session_state.get("more pairs") else _N_FIRST
    above_chance = queries_unit_pairs.has_chance(store, cells)
    gained, lost = (_by_parent(store, cells, limit, above_chance, worst=worst) for worst in (False, True))
    score = "MS score minus that of random images" if above_chance else "MS score"
    how = f"Numbers: mean {score} of the units made of one neuron, A minus B. Pictures: the best of these units."
    panel = None
    if not gained and not lost:
        gained, lost = (_by_judges(store, a, b, limit, worst=worst) for worst in (False, True))
        how = "The units have no common neurons: these pairs have the clearest votes of the judges, over both orders."
        panel = _panel(store, [*gained, *lost])
    if not gained and not lost:
        st.info(
            "No pairs of units: these methods have no common neurons, and no panel has judged them. `harness judge` "
            "compares their units."
        )
        return
    name_a, name_b = (choice.row.title for choice in (a, b))
    st.header("Which units differ?", anchor=False)
    with st.container(horizontal=True, vertical_alignment="center"):
        seed = "" if first["token_seed"] is None else f" of token seed {first['token_seed']}"
        st.caption(
            f"The largest differences{seed if panel is None else ''}: examples, not evidence.  \n{plain(how)}  \n"
            f"Left: {plain(name_a)} (A). Right: {plain(name_b)} (B).",
            width="stretch",
        )
        if panel is not None:
            panels.badge(panel)
        st.toggle("More pairs", key="more pairs", help=f"Up to {_N_MORE} of each instead of {_N_FIRST}.")
    gallery = gallery_of(store, first)
    for title, cards in ((f"Gained: units where {name_a} is ahead", gained), (f"Lost: {name_b} is ahead", lost)):
        st.subheader(plain(title), anchor=False)
        if cards:
            show_cards(store, gallery, cards, (name_a, name_b))
        else:
            st.text("None.")
    gallery.explain()


def _panel(store: Store, cards: Sequence[UnitCard]) -> str | None:
    judged = {(card.address or {}).get("tournament") for card in cards}
    tournaments = queries_judging.tournaments(store)
    return next((str(row["panel"]) for row in tournaments if row["tournament"] in judged), None)


def _by_parent(store: Store, cells: tuple[str, str], limit: int, above_chance: bool, *, worst: bool) -> list[UnitCard]:
    rows = queries_unit_pairs.parents_compared(store, cells, above_chance=above_chance, worst=worst, limit=limit)
    return [
        UnitCard(
            with_minus(f"Neuron {row['parent']}: {row['difference']:+.2f}"),
            (f"{row['mean_a']:.2f} {_of(row['n_a'])} against {row['mean_b']:.2f} {_of(row['n_b'])}",),
            ((cells[0], row["best_a"]), (cells[1], row["best_b"])),
        )
        for row in rows
    ]


def _of(count: int) -> str:
    return "(1 unit)" if count == 1 else f"({count} units)"


def _by_judges(store: Store, a: Choice, b: Choice, limit: int, *, worst: bool) -> list[UnitCard]:
    sides = (list(choice.row.cell_ids) for choice in (a, b))
    return [
        UnitCard(
            f"Votes {row['votes_a']} : {row['votes_b']}",
            (),
            ((row["cell_a"], row["unit_a"]), (row["cell_b"], row["unit_b"])),
            {"tournament": row["tournament"], "pair": row["pair_id"], "order": 0},
        )
        for row in queries_judging.judged_pairs(store, *sides, worst=worst, limit=limit)
    ]
