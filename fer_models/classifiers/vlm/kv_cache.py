"""Key-value cache of transformers' models: the name of the argument, and of the output field that holds it.

transformers calls both `cache` from 5.24 on, and `past_key_values` before; 5.40 is announced to remove the
old name.
"""

from __future__ import annotations

import inspect
from typing import Any


def cache_name(model: Any) -> str:
    """Name of the cache in the arguments and outputs of `model`: `cache` or `past_key_values`."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
