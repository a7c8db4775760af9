"""Drawings on the evaluation images, for pages and exported sites. Needs Pillow, and neither torch nor streamlit."""

__all__: list[str] = []
