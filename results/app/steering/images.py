"""Choice of an evaluation image by its picture, or by a part of its name or class."""

from __future__ import annotations

import streamlit as st

from results.app import address
from results.app.gallery import Gallery
from results.app.pictures import decode_ahead, embedded, strip
from results.app.queries_steering import image_class, image_page
from results.app.titles import plain, visible
from results.app.units.notes import note
from results.pictures.tiles import OPACITY, Overlay, PictureTile
from results.store import Store
from results.visible_text import names_text

_CHOSEN_PX, _SMALL_PX, _PER_PAGE = 132, 92, 12
#: Pixels of a drawn image per pixel of the page: screens with a high resolution.
_SHARP = 2


def choose_image(store: Store, gallery: Gallery) -> str | None:
    """Show the chosen image beside a list of others, and return its name; None if the set has no images.

    Raises:
        StoreError: the store cannot be read.
    """
    name = address.get("image")
    class_name = image_class(store, gallery.fingerprint, name) if name else None
    if class_name is None:
        first = image_page(store, gallery.fingerprint, "", limit=1)
        if not first:
            return None
        if name:
            st.warning(f"The evaluation images have no {plain(names_text([name]))}: this is the first one.")
        name, class_name = str(first[0]["name"]), str(first[0]["class_name"] or "")
    with st.container(horizontal=True, gap="small", vertical_alignment="center"):
        st.image(
            picture(gallery, PictureTile(name, None), _CHOSEN_PX),
            width=_CHOSEN_PX,
            alt=f"Chosen image: {visible(name)}",
        )
        with st.container(width="stretch", gap="small"):
            of_class = f"  \n:small[{plain(f'Class: {names_text([class_name])}')}]" if class_name else ""
            st.markdown(f"**{plain(names_text([name]))}**{of_class}")
            with st.popover("Choose another image", icon=":material/image_search:"):
                _list(store, gallery, name)
    return name


def picture(gallery: Gallery, tile: PictureTile, px: int, opacity: float = OPACITY) -> str:
    """Return an image as a URL that holds it, with a heat map if the tile has one."""
    overlay: Overlay = "heat map" if tile.activation else "plain"
    gallery.note([tile], overlay)
    drawn = strip(
        [tile], gallery.image_folders, gallery.seen, tile_px=_SHARP * px, columns=1, overlay=overlay, opacity=opacity
    )
    return embedded(drawn)


def _list(store: Store, gallery: Gallery, chosen: str) -> None:
    search = st.text_input("Find an image", type="search", placeholder="name or class", key="steer find image")[:100]
    key = "steer page of images"
    page = int(st.session_state.get(key) or 1)
    image_rows = image_page(store, gallery.fingerprint, search.strip(), limit=_PER_PAGE, offset=(page - 1) * _PER_PAGE)
    if not image_rows and page > 1:
        # The search has shortened the list.
        st.session_state[key] = page = 1
        image_rows = image_page(store, gallery.fingerprint, search.strip(), limit=_PER_PAGE)
    if not image_rows:
        note("No image has this name or class.")
        return
    decode_ahead([row["name"] for row in image_rows], gallery.image_folders, gallery.seen, _SHARP * _SMALL_PX)
    with st.container(horizontal=True, gap="xsmall", width=4 * (_SMALL_PX + 8)):
        for number, row in enumerate(image_rows):
            # The button lies over the picture, unseen (results/app/shell.py).
            with st.container(width=_SMALL_PX, key=f"unit_image_steer_{number}"):
                mark = "chosen: " if row["name"] == chosen else ""
                alt = f"{mark}{visible(row['name'])}"
                st.image(picture(gallery, PictureTile(row["name"], None), _SMALL_PX), width="stretch", alt=alt)
                label = plain(f"Choose {names_text([row['name']])}")
                st.button(label, key=f"steer image {number}", on_click=_choose, args=(row["name"],))
    n_pages = -(-int(image_rows[0]["total"]) // _PER_PAGE)
    if n_pages > 1:
        st.pagination(n_pages, key=key, max_visible_pages=5)


def _choose(name: str) -> None:
    address.put(image=name)
