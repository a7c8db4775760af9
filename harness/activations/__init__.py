"""Activations of one layer: the site, token sets, forward passes, the unmodified network, and its head."""

__all__: list[str] = []
