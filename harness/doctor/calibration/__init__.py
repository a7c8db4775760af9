"""Calibration: short measurements of the rates of this machine, from which doctor estimates the time of a suite."""

from harness.doctor.calibration.file import Calibration, load, rates_here
from harness.doctor.calibration.measure import calibrate

__all__ = ["Calibration", "calibrate", "load", "rates_here"]
