"""Planted truth: layers whose concepts are known, to validate metrics and methods against them.

A *world* (:mod:`harness.planted.world`) defines the concepts, the tokens on which they are active, and the neurons that
mix them. Its images (:mod:`harness.planted.images`) store the layer's inputs as pixels, and its backbone
(:mod:`harness.planted.backbone`) decodes them, so sampling, fitting and measuring use the same code as any other run.
On real photographs (:mod:`harness.planted.photographs`), concepts are clusters of real tokens, and each planted neuron
is the sum of linear readouts of two of them.

Importing this package registers the methods ``oracle`` (the true parts), ``collapsed`` (one of them, repeated) and
``absorbing`` (parents that are silent on some of their children).
"""

from __future__ import annotations

from methods import METHODS

METHODS.add("oracle", "harness.planted.oracle:Oracle", description="the planted parts themselves")
METHODS.add("collapsed", "harness.planted.oracle:Collapsed", description="one planted part, repeated")
METHODS.add(
    "absorbing", "harness.planted.absorbing:Absorbing", description="planted parents, silent on some of their children"
)

__all__: list[str] = []
