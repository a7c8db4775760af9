"""Cells, the units of work: planned from a suite, fitted and evaluated, on any machine."""

__all__: list[str] = []
