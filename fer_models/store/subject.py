"""Subjects of an evaluation: one model on one set of faces, with one restoration."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fer_models.artifacts.file_names import unique_name

#: The fields in the order of evals.json.
_FIELDS = ("dataset", "split", "corruption", "restoration", "model", "prompt")


@dataclass(frozen=True, order=True)
class Subject:
    """A combination that has a score.

    Attributes:
        dataset: the name of the dataset.
        split: the name of its split.
        restoration: the name of the restoration; `raw` for none.
        model: the name of the model.
        corruption: the id of the corruption, or None.
        prompt: the name of the prompts, or None.
    """

    dataset: str
    split: str
    restoration: str
    model: str
    corruption: str | None = None
    prompt: str | None = None

    @property
    def id(self) -> str:
        """Name in messages: `vgg19-raw on fer2013/private_test`."""
        corrupted = f", {self.corruption}" if self.corruption else ""
        prompted = f" ({self.prompt})" if self.prompt else ""
        return f"{self.model}-{self.restoration}{prompted} on {self.dataset}/{self.split}{corrupted}"

    def as_json(self) -> dict[str, str | None]:
        """Return the fields in the order of evals.json."""
        fields = asdict(self)
        return {name: fields[name] for name in _FIELDS}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Subject:
        """Build a subject from what `as_json` returned."""
        return cls(**{name: fields.get(name) for name in _FIELDS})  # type: ignore[arg-type]

    def key(self, parts: Mapping[str, Any]) -> str:
        """Hash the subject and `parts`: sha256, in hexadecimal.

        Args:
            parts: the identities of faces, restorer and model.
        """
        fields = {"subject": self.as_json(), **parts}
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def folder(self, key: str) -> str:
        """Readable folder name that is unique to `key`, also for unusual dataset names."""
        name = f"{self.dataset[:99]}-{self.split}-{self.restoration}-{self.model}"
        return unique_name(name, key)
