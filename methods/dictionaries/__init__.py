"""Dictionaries that nobody trained by gradient: random atoms, PCA, ICA, semi-NMF, k-means. The controls."""

from __future__ import annotations

from methods.dictionaries import ica, kmeans, nmf, pca, random_atoms

__all__ = ["ica", "kmeans", "nmf", "pca", "random_atoms"]
