"""Pairs of units as cards: the top images of two units beside each other, in rows that wrap on a narrow page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import streamlit as st

from results.app import navigation, queries
from results.app.gallery import Gallery
from results.app.titles import plain, visible
from results.app.units.notes import note
from results.store import Store
from results.store.records import grouped

_TILE_PX = 56
_CARD_PX = 2 * 3 * (_TILE_PX + 3) + 40


class UnitCard(NamedTuple):
    """Two units that are shown beside each other."""

    title: str
    """first line"""
    lines: Sequence[str]
    """small text below it"""
    units: tuple[tuple[str, int], tuple[str, int]]
    """(cell id, number) of the units of A and B"""
    address: Mapping[str, Any] | None = None
    """parameters of the page Judges, for units that were judged"""


def show_cards(store: Store, gallery: Gallery, cards: Sequence[UnitCard], names: tuple[str, str]) -> None:
    """Show cards in rows; `names` are those of A and B, for screen readers."""
    units = [[queries.unit_by_number(store, *unit) for unit in card.units] for card in cards]
    gallery.prepare(store, [unit for pair in units for unit in pair])
    of_cell = grouped(
        (pair for card, row in zip(cards, units, strict=True) for pair in zip(card.units, row, strict=True)),
        lambda pair: pair[0][0],
    )
    for cell_id, pairs in of_cell.items():
        gallery.prepare_maps(store, cell_id, [unit for _, unit in pairs])
    with st.container(horizontal=True, gap="small"):
        for card, pair in zip(cards, units, strict=True):
            with st.container(border=True, width=_CARD_PX, gap="xsmall"):
                st.markdown(f"**{plain(card.title)}**")
                for line in card.lines:
                    note(line)
                for column, side, name, address, unit in zip(
                    st.columns(2, gap="small"), "AB", names, card.units, pair, strict=True
                ):
                    with column:
                        _side(gallery, side, name, address, unit)
                if card.address is not None:
                    navigation.link("judges", "Replies of the judges", **card.address)


def _side(gallery: Gallery, side: str, name: str, address: tuple[str, int], unit: Mapping[str, Any] | None) -> None:
    cell_id, number = address
    navigation.link("units", f"{side}: unit {number}", cell=cell_id, unit=number)
    if unit is None:
        st.text("not in the store")
    else:
        gallery.show(unit, f"{visible(name)}, unit {number}", tile_px=_TILE_PX, columns=3, cell_id=cell_id)
