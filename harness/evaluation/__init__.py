"""Evaluation from Python: one call that scores a method, a dictionary or an object, and the tokens of a layer."""

from harness.evaluation.store_path import DEFAULT_STORE, store_path

__all__ = ["DEFAULT_STORE", "store_path"]
