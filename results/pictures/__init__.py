"""Drawings on the evaluation images, and the colours and names of figures, for pages, exported sites and figures.

Needs NumPy and Pillow, and neither torch nor streamlit.
"""

__all__: list[str] = []
