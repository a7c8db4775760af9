"""Steering of backbones by concepts: units that match a concept, and interventions on them."""

__all__: list[str] = []
