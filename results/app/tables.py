"""Display of a table on the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from results.app.titles import visible


def show(columns: Mapping[str, Sequence[Any]], alt: str, **options: Any) -> None:
    """Show columns (title -> values), described to screen readers by `alt`; `options` are those of st.dataframe.

    Texts are shown with control characters escaped.
    """
    frame = pd.DataFrame(columns).map(lambda value: visible(value) if isinstance(value, str) else value)
    st.dataframe(frame, hide_index=True, alt=alt, **options)
