"""What is evaluated: one model, on one set of faces, restored one way. Its key is a hash of the content of
every part.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, order=True)
class Subject:
    """One thing that has a score.

    Attributes:
        dataset, split: which faces.
        corruption: how they were spoilt, or None.
        restoration: how they were restored; `raw` for not at all.
        model: which model answered.
        prompt: the name of its prompts, or None.
    """

    dataset: str
    split: str
    restoration: str
    model: str
    corruption: str | None = None
    prompt: str | None = None

    @property
    def id(self) -> str:
        """How messages call it: `vgg19-raw on fer2013/private_test`."""
        corrupted = f", {self.corruption}" if self.corruption else ""
        prompted = f" ({self.prompt})" if self.prompt else ""
        return f"{self.model}-{self.restoration}{prompted} on {self.dataset}/{self.split}{corrupted}"

    def as_json(self) -> dict[str, str | None]:
        """The fields in the order of the evals.json contract."""
        fields = asdict(self)
        return {k: fields[k] for k in ("dataset", "split", "corruption", "restoration", "model", "prompt")}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Subject:
        """The record that `as_json` wrote."""
        values = {
            k: fields.get(k) for k in ("dataset", "split", "restoration", "model", "corruption", "prompt")
        }
        return cls(**values)  # type: ignore[arg-type]

    def key(self, parts: Mapping[str, Any]) -> str:
        """The sha256 of this record and of `parts` (the identities of faces, restorer and model), in
        hexadecimal.
        """
        text = json.dumps(
            {"subject": self.as_json(), **parts}, sort_keys=True, separators=(",", ":"), ensure_ascii=True
        )
        return hashlib.sha256(text.encode()).hexdigest()

    def folder(self, key: str) -> str:
        """A readable folder name that is unique to `key`, whatever the dataset is called."""
        name = re.sub(
            r"[^A-Za-z0-9._-]+", "-", f"{self.dataset[:99]}-{self.split}-{self.restoration}-{self.model}"
        )
        return f"{name}-{key[:16]}"
