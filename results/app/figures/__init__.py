"""Figures of the app: Vega-Lite specifications from plain data, one figure per file, without streamlit."""

__all__: list[str] = []
