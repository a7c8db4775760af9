"""Dictionaries without gradient training (random atoms, PCA, ICA, semi-NMF, k-means): the controls."""

__all__: list[str] = []
