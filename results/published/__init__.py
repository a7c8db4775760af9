"""Figures that a paper printed, and how results of a store compare with them."""

__all__: list[str] = []
