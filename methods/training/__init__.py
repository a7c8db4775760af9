"""Training of methods: settings, normalisation, batches, the loop, checkpoints, sparse products."""

__all__: list[str] = []
