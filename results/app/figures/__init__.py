"""Figures of the app: Altair charts from plain data, one figure per file, without streamlit."""

__all__: list[str] = []
