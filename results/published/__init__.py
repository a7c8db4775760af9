"""Published figures of the paper, and their comparison with the results of a store."""

__all__: list[str] = []
