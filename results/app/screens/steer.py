"""Steer: what happens to the predictions if the units of a concept are amplified or suppressed?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from results.app import data, queries, queries_units, widgets
from results.app.gallery import Gallery, gallery_of
from results.app.queries_steering import frequent_labels
from results.app.steering.choices import asked_for, form, suggest
from results.app.steering.client import Worker, WorkerError, steerable_cells, steered, worker
from results.app.steering.effect import show_effect, show_steered_units
from results.app.steering.images import choose_image
from results.app.titles import plain, visible
from results.app.units.concept_labels import label_command
from results.app.units.listing import Cell
from results.app.units.notes import note
from results.store import Store
from results.visible_text import one_line

_SUGGESTIONS, _LONGEST = 6, 24
_DEFAULT = "default"
_MATCHERS = (_DEFAULT, "words", "sentences")
_SELECT_PX = 170


def render() -> None:
    """Show the page."""
    st.title("Steer")
    with data.page() as store:
        data.require_boards(store)
        address = worker()
        if address is None:
            _teach(store)
            return
        try:
            with st.spinner("Waiting for the worker"):
                cells = steerable_cells(address)
        except WorkerError as error:
            _failed(error)
            return
        if not cells:
            st.info(
                "No cell of this store can be steered: it needs a fit beside the store, of a method whose units are "
                "part of the network. `harness run --suite demo` computes some."
            )
            return
        _steer(store, address, cells)


def _teach(store: Store) -> None:
    name = one_line(store.path.name).replace("`", "")
    st.markdown(
        "Amplify or suppress the units of a concept in one image, and see how the predictions of the network change, "
        "beside as many random units."
    )
    st.info(
        f"Steering needs the network, which this app does not load. Start it with `harness app --steer --suite demo "
        f"--store {name}`, with the suite that computed the store. Units are frequent by their labels: "
        f"`harness label --suite demo --store {name}`."
    )


def _steer(store: Store, address: Worker, cells: Sequence[Mapping[str, Any]]) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        with st.container(key="steer_cell"):
            chosen = _cell_choice(store, cells)
        with st.container(width=_SELECT_PX):
            scorer = widgets.select(
                "Labels by", chosen["scorers"] or ["no scorer"], "scorer", chosen["scorers"] or ["none"]
            )
        with st.container(width=_SELECT_PX):
            matcher = widgets.select("Matched by", _MATCHERS, "matcher", _MATCHERS, help=_MATCHING)
    record = next(iter(queries.finished_cells(store, [chosen["cell_id"]])), None)
    if record is None:
        st.info("This cell has been computed again: reload the page.")
        return
    if not chosen["scorers"]:
        command = label_command(record, store.path)
        st.info(f"The units of this cell have no concept labels, by which concepts find them. Label them: `{command}`.")
        return
    gallery = gallery_of(store, record, outlined=False)
    with st.container(horizontal=True, gap="medium", key="steer_body"):
        with st.container(key="steer_choices", gap="small"):
            image = choose_image(store, gallery)
            frequent = frequent_labels(store, record["cell_id"], scorer, 4 * _SUGGESTIONS)
            suggestions = suggested(frequent)
            suggest(suggestions)
            form(suggestions)
        with st.container(key="steer_effect", gap="small"):
            if image is None:
                st.info("The store does not have the names of the evaluation images.")
                return
            answer = _answer(address, record["cell_id"], image, scorer, matcher)
            if answer:
                show_effect(answer, image, gallery)
    if answer:
        n_images = sum(queries_units.class_counts(store, record["evaluation_fingerprint"]).values())
        summary = queries_units.unit_summary(store, record["cell_id"])
        show_steered_units(store, Cell(record, None, summary, n_images), answer, gallery)
    _explain(gallery)


def _cell_choice(store: Store, cells: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Let the reader choose a cell, those with labels first."""
    choices = data.rows_by_cell(store)
    ordered = sorted(cells, key=lambda cell: not cell["scorers"])
    by_id = {str(cell["cell_id"]): cell for cell in ordered}
    titles = []
    for cell_id, cell in by_id.items():
        choice = choices.get(cell_id)
        name = choice.row.title if choice else cell["label"]
        backbone = choice.board.backbone_title if choice else cell["backbone"]
        labels = "" if cell["scorers"] else " (no labels)"
        titles.append(f"{name}{labels} · {backbone} · {cell['site']} · token seed {cell['token_seed']}")
    unknown = "The worker cannot steer the cell that the address names."
    return by_id[widgets.select("Method", list(by_id), "cell", titles, unknown=unknown)]


def suggested(labels: Sequence[str]) -> list[str]:
    """Return the first name of each label, which may have several with commas between them, as ImageNet's have."""
    names = (" ".join(label.split(",")[0].split()) for label in labels)
    # A button shows its text as Markdown, and a click puts it into the form: only plain words.
    plain_names = (name for name in names if 0 < len(name) <= _LONGEST and all(c.isalnum() or c in " -'" for c in name))
    return list(dict.fromkeys(plain_names))[:_SUGGESTIONS]


def _answer(address: Worker, cell_id: str, image: str, scorer: str, matcher: str) -> dict[str, Any] | None:
    """Return the effect that the address asks for; None if it names no concept, or there is none, which is said."""
    concepts = asked_for()
    if not (concepts.amplify or concepts.suppress):
        st.info("Name a concept to amplify or to suppress, and press Steer. The effect is shown here.")
        return None
    request = {
        **concepts.request,
        "cell": cell_id,
        "images": [image],
        "scorer": scorer,
        "matcher": None if matcher == _DEFAULT else matcher,
    }
    try:
        with st.spinner("Steering. The first time, the network is loaded.", show_time=True):
            return steered(address, request)
    except WorkerError as error:
        _failed(error)
        return None


def _failed(error: WorkerError) -> None:
    # The sentence has names of the store; a command in it is code.
    parts = visible(error).split("`")
    texts = [f"`{part}`" if number % 2 else plain(part) for number, part in enumerate(parts)]
    st.error(" ".join(texts), icon=":material/error:")


_MATCHING = (
    "How concepts find labels: by common words, or by embeddings of sentences. The default is sentences if these are "
    "installed (`pip install 'disentanglement-harness[text]'`), else words."
)


def _explain(gallery: Gallery) -> None:
    with st.expander("How to read this page"):
        note(
            "The layer computes the image once as it is and once with the activations of the units multiplied, at the "
            "patches where each is most active. Random units: the mean of three draws of as many other active units, "
            "scaled so that the layer's output changes equally much. One image is an example, not evidence: "
            "the steering score of harness steer --score is over all images."
        )
    if gallery.missing:
        gallery.explain()


if __name__ == "__main__":
    render()
