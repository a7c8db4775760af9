"""Choices of the page Steer: in the address, so that a link reproduces an effect, and in the widgets of its form."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import streamlit as st

from results.app import address
from results.minus_sign import with_minus

ALL = "all"
#: Most concepts of each kind.
MOST_CONCEPTS = 20
_MOST_CHARACTERS = 300


class Slider(NamedTuple):
    """Slider of one setting."""

    label: str
    options: tuple[float, ...]
    default: float
    help: str


#: Setting -> its slider. The letters and defaults are the paper's.
SLIDERS: Mapping[str, Slider] = {
    "alpha": Slider(
        "Amplify by α",
        (0, 0.5, 1, 2, 3, 5, 8, 10, 15, 20, 30, 50, 100),
        5,
        "Activations of units whose label matches a concept to amplify are multiplied by it; 1 changes nothing.",
    ),
    "gamma": Slider(
        "Suppress by γ",
        (-200, -100, -50, -20, -10, -5, -2, -1, 0, 0.5, 1),
        -50,
        "Activations of units whose label matches a concept to suppress are multiplied by it; 0 removes them.",
    ),
    "kappa": Slider(
        "Units κ per concept", (1, 2, 5, 10, 20, 50, 100, 200, 500), 50, "Those whose label matches best, at most."
    ),
    "nu": Slider(
        "Patches ν per unit",
        (1, 2, 5, 10, 20, 50, 100, 200, math.inf),
        50,
        "Each unit is changed where it is most active on the image, at this number of patches.",
    ),
}
_CONCEPTS = ("amplify", "suppress")
_SEEN = "address of the steering form"


class Concepts(NamedTuple):
    """Concepts and factors that the address asks for."""

    amplify: tuple[str, ...]
    suppress: tuple[str, ...]
    alpha: float
    gamma: float
    kappa: int
    nu: int | None
    """None: all patches"""

    @property
    def request(self) -> dict[str, Any]:
        """Values of the request to the worker."""
        return {**self._asdict(), "amplify": list(self.amplify), "suppress": list(self.suppress)}


def asked_for() -> Concepts:
    """Return the choices of the address, or of the session after another page; a wrong number is the default."""
    values = {name: nearest(slider, address.get(name)) for name, slider in SLIDERS.items()}
    return Concepts(
        amplify=concepts_of(address.get("amplify")),
        suppress=concepts_of(address.get("suppress")),
        alpha=float(values["alpha"]),
        gamma=float(values["gamma"]),
        kappa=int(values["kappa"]),
        nu=None if math.isinf(values["nu"]) else int(values["nu"]),
    )


def concepts_of(text: str) -> tuple[str, ...]:
    """Return the concepts of a text with commas between them."""
    parts = (" ".join(part.split())[:_MOST_CHARACTERS] for part in text.split(","))
    return tuple(dict.fromkeys(part for part in parts if part))[:MOST_CONCEPTS]


def nearest(slider: Slider, text: str) -> float:
    """Return the position of a slider that is nearest to a number in an address; the default for anything else."""
    try:
        value = math.inf if text == ALL else float(text)
    except ValueError:
        return slider.default
    if value in slider.options:
        return value
    return min(slider.options, key=lambda option: abs(option - value)) if math.isfinite(value) else slider.default


def form(suggestions: Sequence[str]) -> None:
    """Show the form; its values are in the address after a click on the button."""
    _fill()
    with st.form("steer", border=True):
        for column, name in zip(st.columns(2, gap="medium"), _CONCEPTS, strict=True):
            column.text_input(
                name.capitalize(),
                key=_key(name),
                placeholder=f"such as {suggestions[0] if suggestions else 'dog'}" if name == "amplify" else "none",
                help="Concepts with commas between them, which find units by their labels. Both: amplified.",
                max_chars=2000,
            )
        for names in (("alpha", "gamma"), ("kappa", "nu")):
            for column, name in zip(st.columns(2, gap="medium"), names, strict=True):
                slider = SLIDERS[name]
                column.select_slider(
                    slider.label, slider.options, key=_key(name), format_func=number_text, help=slider.help
                )
        st.form_submit_button("Steer", icon=":material/graphic_eq:", on_click=_submit)


def suggest(suggestions: Sequence[str]) -> None:
    """Show frequent labels; a click adds one to the concepts to amplify, and computes nothing."""
    if not suggestions:
        return
    with st.container(horizontal=True, gap="xsmall", vertical_alignment="center", key="steer_suggestions"):
        st.markdown(":small[Frequent labels:]", width="content")
        for number, text in enumerate(suggestions):
            st.button(text, key=f"suggested {number}", type="tertiary", on_click=_add, args=(text,))


def number_text(value: float) -> str:
    """Return the text of a slider's position."""
    return ALL if math.isinf(value) else with_minus(f"{value:g}")


def _key(name: str) -> str:
    return f"steer {name}"


def _fill() -> None:
    """Set the widgets from the address if it has changed; until then they keep what the reader has typed."""
    asked = asked_for()
    keys = [_key(name) for name in (*_CONCEPTS, *SLIDERS)]
    if st.session_state.get(_SEEN) == asked and all(key in st.session_state for key in keys):
        return
    st.session_state[_SEEN] = asked
    for name in _CONCEPTS:
        st.session_state[_key(name)] = ", ".join(getattr(asked, name))
    for name, slider in SLIDERS.items():
        value = getattr(asked, name)
        st.session_state[_key(name)] = next(
            option for option in slider.options if option == (math.inf if value is None else value)
        )


def _submit() -> None:
    concepts = {name: ", ".join(concepts_of(str(st.session_state[_key(name)] or ""))) for name in _CONCEPTS}
    numbers = {
        name: "" if st.session_state[_key(name)] == slider.default else _address_text(st.session_state[_key(name)])
        for name, slider in SLIDERS.items()
    }
    address.put(**concepts, **numbers)


def _address_text(value: float) -> str:
    return ALL if math.isinf(value) else f"{value:g}"


def _add(text: str) -> None:
    key = _key("amplify")
    st.session_state[key] = ", ".join(dict.fromkeys([*concepts_of(str(st.session_state.get(key) or "")), text]))
