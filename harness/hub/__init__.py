"""Fitted methods for others: repositories of the Hugging Face Hub, and files that other programs load."""

from __future__ import annotations

from harness.hub.dictionary_export import ExportedDictionary, export_dictionary
from harness.hub.push import Pushed, push

__all__ = ["ExportedDictionary", "Pushed", "export_dictionary", "push"]
