"""Planted truth: layers whose concepts are known, so that metrics and methods can be checked against them.

A *world* (:mod:`harness.planted.world`) decides which concepts there are, when they are on, and which neurons mix them.
Its images (:mod:`harness.planted.images`) hold the layer's inputs in their pixels, and its backbone
(:mod:`harness.planted.backbone`) reads them back: sampling, fitting and measuring are the ones of every other run. On
real photographs (:mod:`harness.planted.photographs`) neurons are planted as sums of two real ones.

Importing this package makes the methods ``oracle`` (the true parts) and ``collapsed`` (one of them, repeated) known.
"""

from __future__ import annotations

from methods import METHODS

METHODS.add("oracle", "harness.planted.oracle:Oracle", description="the planted parts themselves")
METHODS.add("collapsed", "harness.planted.oracle:Collapsed", description="one planted part, repeated")

__all__: list[str] = []
