"""State of a page in its address, for choices that are no select box: the address first, then the session."""

from __future__ import annotations

import streamlit as st


def get(parameter: str) -> str:
    """Return the value of a parameter, from the address or else from the session; "" without one."""
    return str(st.query_params.get(parameter) or st.session_state.get(f"chosen_{parameter}") or "")


def put(**values: str) -> None:
    """Put values of parameters into the address and the session; "" removes one.

    The address changes once, so that the browser's back button undoes all of them.
    """
    for parameter, value in values.items():
        st.session_state[f"chosen_{parameter}"] = value
    before = st.query_params.to_dict()
    after = {parameter: value for parameter, value in {**before, **values}.items() if value}
    if after != before:
        st.query_params.from_dict(after)
