"""Parts of the page Steer: the worker that computes, the reader's choices, and the effect."""

__all__: list[str] = []
