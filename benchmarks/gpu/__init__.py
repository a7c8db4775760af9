"""Sections of the GPU report, one per file; see ``benchmarks/gpu_report.py``.

A section is a module with ``TITLE``, ``ORDER`` (the most valuable first), ``LIMIT_S`` (seconds on one H100) and
``run(record: Record) -> None``.
"""
