"""Results store: one DuckDB file, its schema, and the records written to it."""

from results.store.store import Store, open_store

__all__ = ["Store", "open_store"]
