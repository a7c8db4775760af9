"""Sparse autoencoders on the layer's output, one family per file."""

__all__: list[str] = []
