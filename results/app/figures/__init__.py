"""The app's figures: Vega-Lite specifications from plain data, one figure a file, without streamlit."""

__all__: list[str] = []
