"""Parts of the page Units: the gallery of a cell's units, and one unit with everything around it."""

__all__: list[str] = []
