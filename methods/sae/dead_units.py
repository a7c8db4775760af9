"""Note of a fit that says how many units were never active, and which settings revive them."""

from __future__ import annotations

from methods.sae.config import SAEConfig, SparseConfig

#: Share of silent units above which a fit has a note.
MANY = 0.1


def dead_units_note(silent: float | None, n_units: int, config: SparseConfig) -> str | None:
    """Return a sentence if more than :data:`MANY` of the units were active on no token of the last epoch.

    Args:
        silent: their share; None if it was not counted.
        config: settings of the fit; those that it already has are not recommended.
    """
    if silent is None or silent <= MANY:
        return None
    settings = ["a larger dead_weight"]
    if config.dead_over == "token":
        settings.insert(0, 'dead_over = "batch"')
    if isinstance(config, SAEConfig) and config.auxk is None:
        settings.append("auxk")
    if isinstance(config, SAEConfig) and config.encoder_start == "library":
        settings.append('encoder_start = "dictionary"')
    named = f"{', '.join(settings[:-1])} or {settings[-1]}" if len(settings) > 1 else settings[0]
    return (
        f"{round(silent * n_units)} of {n_units} units ({silent:.0%}) were active on no token of the last epoch. "
        f"To revive them, set {named}."
    )
