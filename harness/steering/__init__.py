"""Steering: concept labels of units, interventions on units, and their effect on what the model says."""

__all__: list[str] = []
