"""Calibration: short measurements of the rates of this machine, from which doctor estimates the time of a suite."""

__all__: list[str] = []
