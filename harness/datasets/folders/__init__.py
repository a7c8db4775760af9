"""Class folders on the disk: their layouts, and the files in them."""

__all__: list[str] = []
