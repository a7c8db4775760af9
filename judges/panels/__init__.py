"""The kinds of panel, one file each."""

__all__: list[str] = []
