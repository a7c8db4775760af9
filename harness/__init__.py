"""Comparative evaluation of disentanglement methods on vision models."""

# Importing methods sets the environment of the numeric libraries before anything is computed.
import methods as _methods  # noqa: F401
