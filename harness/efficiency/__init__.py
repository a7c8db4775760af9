"""What a method costs inside the network: time against the unmodified backbone, memory, and counted work."""

__all__: list[str] = []
