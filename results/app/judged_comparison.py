"""One judged comparison: both grids, every judge's reply and the consensus."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import streamlit as st
from PIL import Image

from results.app import navigation, panels, queries, queries_judging
from results.app.gallery import Gallery, gallery_of
from results.app.queries import Record
from results.app.titles import plain, visible
from results.store import Store
from results.store.judgments import TIE


def show_comparison(
    store: Store, tournament: Record, labels: Mapping[str, str], pair: str, titles: Mapping[str, str]
) -> None:
    """Show the comparison of a tournament that the address names; `titles` are those of backbones."""
    navigation.link("judges", "← all comparisons", tournament=tournament["tournament"])
    text = st.query_params.get("order", "0")
    order = int(text) if text in ("0", "1") else 0
    row = queries_judging.presentation(store, tournament["tournament"], pair, order)
    if row is None:
        st.warning("This tournament has no such comparison.")
        return
    a, b = (labels.get(row[cell], row[cell]) for cell in ("cell_a", "cell_b"))
    st.header(f"{plain(a)}, unit {row['unit_a']} against {plain(b)}, unit {row['unit_b']}")
    st.text(visible(f"Consensus: {verdict_text(row, a, b)}"))
    address = {"tournament": tournament["tournament"], "pair": pair, "order": 1 - order}
    navigation.link("judges", "Same pair in the other order", **address)
    for column, side, label in zip(st.columns(2), "ab", (a, b), strict=True):
        with column:
            st.markdown(f"**Grid {side.upper()}: {plain(label)}**")
            _grid(store, row, side)
            navigation.link(
                "units", f"Open unit {row[f'unit_{side}']}", cell=row[f"cell_{side}"], unit=row[f"unit_{side}"]
            )
    st.header("Replies of the judges")
    replies = queries_judging.replies(store, tournament["tournament"], row["grid_a"], row["grid_b"])
    for reply, name in zip(replies, panels.judge_names((reply["judge"] for reply in replies), titles), strict=True):
        _reply(reply, name)


def thumbnail(store: Store, key: str, cell_id: str, number: int, gallery: Gallery | None, px: int) -> None:
    """Show a grid in `px` pixels: the file that the judges saw, else the top images of the unit.

    `gallery` is that of the unit's cell; None if the cell is not in the store.
    """
    file = _file(store, key)
    picture = None if file is None else _small(file, file.stat().st_mtime_ns, px)
    unit = None if picture is not None or gallery is None else queries.unit_by_number(store, cell_id, number)
    if picture is not None:
        st.image(picture, alt=f"The nine strongest images of unit {number}.", width=px)
    elif gallery is not None and unit is not None:
        gallery.prepare(store, [unit])
        gallery.show(unit, f"unit {number}", tile_px=px // 3 - 2, columns=3)
    else:
        st.text("not in the store")


def _grid(store: Store, row: Record, side: str) -> None:
    number, cell_id = row[f"unit_{side}"], row[f"cell_{side}"]
    file = _file(store, row[f"grid_{side}"])
    if file is not None:
        st.image(file.read_bytes(), alt=f"Grid {side.upper()}: the nine strongest images of unit {number}.", width=480)
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


def _file(store: Store, key: str) -> Path | None:
    """Return the readable file of a grid; a key of the store is a file name, and an invalid one finds nothing."""
    file = store.path.parent / "grids" / key[:2] / f"{key}.jpg"
    try:
        return file if key.isalnum() and file.is_file() else None
    except (OSError, ValueError):
        return None


@lru_cache(maxsize=512)
def _small(file: Path, stamp: int, px: int) -> bytes | None:
    """Return a picture at twice `px` pixels, for sharp screens; None if it cannot be read. `stamp` is its time."""
    buffer = io.BytesIO()
    try:
        with Image.open(file) as opened:
            opened.draft("RGB", (2 * px, 2 * px))
            small = opened.convert("RGB")
            small.thumbnail((2 * px, 2 * px))
            small.save(buffer, "WEBP", quality=85, method=2)
    except Exception:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more.
        return None
    return buffer.getvalue()


def _reply(reply: Record, judge: str) -> None:
    with st.container(border=True):
        # All of this text is untrusted: it is shown as text, never as Markdown or HTML.
        st.text(visible(judge))
        if reply["attempt"] is None or (reply["raw"] is None and reply["judge"].startswith("people/")):
            st.text("No reply yet.")
            return
        answer = reply["answer"] or _without_answer(reply)
        attempts = "" if reply["attempt"] == 1 else f", attempt {reply['attempt']}"
        st.text(visible(f"Answer: {answer}{attempts}"))
        for side in ("a", "b"):
            if reply[f"reasoning_{side}"]:
                st.text(visible(f"{side.upper()}: {reply[f'reasoning_{side}']}"))
        if reply["raw"]:
            with st.expander("Raw reply"):
                st.code(visible(reply["raw"]), language=None, wrap_lines=True)


def _without_answer(reply: Record) -> str:
    if reply["finish_reason"] == TIE and reply["raw"]:
        return "tie"
    return f"invalid ({reply['problem'] or 'no reason recorded'})"


def verdict_text(row: Record, a: str, b: str) -> str:
    """Return the votes on one presentation and what they decide."""
    votes = f"{row['n_a']} : {row['n_b']}"
    if row["grid_a"] == row["grid_b"]:
        return f"control, {votes}"
    winner = {"A": a, "B": b}.get(row["consensus"])
    if winner is not None:
        return f"{votes}, {winner}"
    return f"{votes}, a tie" if row["n_a"] == row["n_b"] > 0 else f"{votes}, undecided"
