"""Note of a fit that says how many units were never active, and which settings revive them."""

from __future__ import annotations

from methods.sae.config import SAEConfig, SparseConfig

#: Share of silent units above which a fit has a note.
MANY = 0.1


#: Settings whose smaller values leave more units active.
PENALTIES = ("l1_weight", "sparsity_weight")


def dead_units_note(
    silent: float | None, n_units: int, config: SparseConfig, *, encoder_is_fixed: bool = False
) -> str | None:
    """Return a sentence if more than :data:`MANY` of the units were active on no token of the last epoch.

    Args:
        silent: their share; None if it was not counted.
        config: settings of the fit; those that it already has are not recommended.
    """
    if silent is None or silent <= MANY:
        return None
    many = f"{round(silent * n_units)} of {n_units} units ({silent:.0%}) were active on no token of the last epoch."
    if encoder_is_fixed:
        return f"{many} No setting revives them, because the encoder is not trained."
    settings = [f"a smaller {name}" for name in PENALTIES if getattr(config, name, 0)]
    if config.dead_over == "token":
        settings.append('dead_over = "batch"')
    settings.append("a larger dead_weight")
    # A unit counts as dead for AuxK after one epoch by default.
    if isinstance(config, SAEConfig) and config.auxk is None and config.epochs > 1:
        settings.append("auxk")
    if isinstance(config, SAEConfig) and config.encoder_start == "library":
        settings.append('encoder_start = "dictionary"')
    named = f"{', '.join(settings[:-1])} or {settings[-1]}" if len(settings) > 1 else settings[0]
    return f"{many} To revive them, set {named}."
