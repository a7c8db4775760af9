"""Memory that the fits of a suite need at least, for layers whose sizes are known without loading the backbone."""

from __future__ import annotations

from harness.doctor.base import Check, Need
from harness.doctor.layers import layer_of
from harness.doctor.needs import method_key
from harness.suites import Suite
from methods import METHODS
from methods.base import Device, make_config
from methods.memory import least_memory_of, memory_of
from methods.plugin_calls import calling
from results.byte_sizes import size_text

#: More than one machine or GPU has: such a method is refused wherever the cells are computed.
NOWHERE = 64 * 2**40


def memory_needs(suite: Suite, device: Device) -> list[Need]:
    """Return the methods that need more memory than the device has; cells may be computed on other machines."""
    memory = memory_of(device)
    needs = []
    for leaf in suite.leaves:
        for target in leaf.targets:
            layer = layer_of(target.backbone, target.site)
            for entry in leaf.methods_of(target) if layer is not None and memory is not None else ():
                assert layer is not None and memory is not None
                method = METHODS.get(entry.name)
                with calling(METHODS, entry.name):
                    needed = least_memory_of(method, make_config(method, entry.config), layer.d_in, layer.d_out)
                if needed <= memory:
                    continue
                what = f"memory for {entry.label or entry.name} on {target.backbone}"
                state = f"at least {size_text(needed)}, and this machine has {size_text(memory)}"
                check = Check(what, False, needed > NOWHERE, state, "Lower its number of units.")
                if needed > NOWHERE:
                    needs.append(Need(check, "method", method_key(entry)))
                else:
                    needs.append(Need(check, "nothing", without="the other cells run"))
    return needs
