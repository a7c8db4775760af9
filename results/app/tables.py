"""Display of a table on the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import streamlit as st


def show(columns: Mapping[str, Sequence[Any]], alt: str, **options: Any) -> None:
    """Show columns (title -> values), described to screen readers by `alt`; `options` are those of st.dataframe."""
    st.dataframe(pd.DataFrame(columns), hide_index=True, alt=alt, **options)
