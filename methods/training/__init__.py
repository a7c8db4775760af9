"""Training of methods: settings, normalisation, batches, the loop, checkpoints, sparse products."""
