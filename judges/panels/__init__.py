"""Kinds of panels, one per file."""
