"""Cost of a method inside the network: time relative to the unmodified backbone, memory, and multiply-accumulates."""

__all__: list[str] = []
