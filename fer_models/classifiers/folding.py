"""Folding of batch normalisation into convolutions, for inference.

A batch normalisation with fixed statistics is an affine function per channel, so it can be part of the
convolution before it: the same function in fewer operations.
"""

from __future__ import annotations

import copy
import operator
from collections import Counter
from typing import Any

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

#: A batch normalisation of timm (`BatchNormAct2d`) holds its activation and a dropout in these attributes.
_AFTER_NORM = ("drop", "act")


class _Tracer(fx.Tracer):
    """Tracer that looks into those modules only that hold a batch normalisation besides other layers."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        holds_norm = any(isinstance(layer, nn.BatchNorm2d) for layer in m.modules())
        return isinstance(m, nn.BatchNorm2d) or not holds_norm


def fold_batch_norms(network: nn.Module) -> nn.Module:
    """Copy `network` with each batch normalisation as a part of the convolution before it.

    Only a normalisation that reads nothing but the output of one convolution is folded, and only if nothing
    else reads that output, and both layers are used once. A network that torch.fx cannot trace is copied as
    it is.

    Args:
        network: in evaluation mode.
    """
    network = copy.deepcopy(network)
    try:
        graph = _Tracer().trace(network)
    except Exception:  # a network may do anything in its `forward`; tracing raises errors of many types
        return network
    uses = Counter(node.target for node in graph.nodes if node.op == "call_module")
    layers = dict(network.named_modules())
    for node in graph.nodes:
        before = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) != 1:
            continue
        if uses[node.target] != 1 or uses[before.target] != 1:
            continue
        convolution, norm = layers[str(before.target)], layers[str(node.target)]
        if _can_fold(convolution, norm):
            layer: Any = fuse_conv_bn_eval(convolution, norm)
            _replace(network, str(before.target), layer)
            _replace(network, str(node.target), _remainder(norm))
    return network


def _can_fold(convolution: nn.Module, norm: nn.Module) -> bool:
    """Whether both are plain layers in evaluation mode, and the normalisation has fixed statistics."""
    if type(convolution) is not nn.Conv2d or not isinstance(norm, nn.BatchNorm2d):
        return False
    is_known = type(norm) is nn.BatchNorm2d or all(hasattr(norm, name) for name in _AFTER_NORM)
    return is_known and norm.running_mean is not None and not norm.training


def _remainder(norm: nn.Module) -> nn.Module:
    """What a normalisation computes after its affine function."""
    after: list[Any] = [getattr(norm, name, None) for name in _AFTER_NORM]
    steps = [step for step in after if step is not None and not isinstance(step, nn.Identity)]
    return nn.Sequential(*steps) if steps else nn.Identity()


def _replace(network: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, attribute = name.rpartition(".")
    setattr(operator.attrgetter(parent)(network) if parent else network, attribute, layer)
