"""Figures of a paper, drawn from a results store alone: one file per figure, found by its name in `FIGURES`."""

from results.export.figures.registry import FIGURES, FigureFile, figure, figure_form, options_of

__all__ = ["FIGURES", "FigureFile", "figure", "figure_form", "options_of"]
