"""State of a page in its address, for choices that are no select box: the address first, then the session."""

from __future__ import annotations

import streamlit as st


def get(parameter: str) -> str:
    """Return the value of a parameter, from the address or else from the session; "" without one."""
    return str(st.query_params.get(parameter) or st.session_state.get(f"chosen_{parameter}") or "")


def put(parameter: str, value: str) -> None:
    """Put a value into the address and the session; "" removes it."""
    st.session_state[f"chosen_{parameter}"] = value
    if value:
        if st.query_params.get(parameter) != value:
            st.query_params[parameter] = value
    elif parameter in st.query_params:
        del st.query_params[parameter]
