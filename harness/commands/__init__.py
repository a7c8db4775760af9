"""Verbs of the command line: one per file, decorated with ``verb``. A new verb is a new file here."""

__all__: list[str] = []
