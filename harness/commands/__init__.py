"""Verbs of the command line: one file each, with a function ``register(app)``. A new verb is a new file here."""

__all__: list[str] = []
