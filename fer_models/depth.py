"""Depth of a run, as data: `quick`, `standard` (the default) or `full`.

Every size that a depth reduces is a field here, and `FULL` holds the complete sizes. A figure that is
measured at another size than `FULL`'s is recorded under a name that says so (`size_suffix`), so it is never
compared with a figure of another size.
"""

from __future__ import annotations

from dataclasses import dataclass

#: The field of a depth -> its size in the name of a figure. `{}` is the size.
_SIZE_FORMATS = {
    "corruption_limit": "{} faces",
    "severities": "severity {}",
    "metamorphic_limit": "{} faces",
    "question_limit": "{} faces",
    "prompt_search_examples": "{} prompts written",
}


@dataclass(frozen=True)
class Depth:
    """Sizes of what one run evaluates; `None` is for all.

    Attributes:
        name: `quick`, `standard` or `full`.
        zoo_models: how many of the zoo's models, those with the least time per face first. Models of the
            user's own are always evaluated.
        limit: faces of the split.
        variant_limit: faces for the variants of a model: each restoration, and each further answer mode of a
            vision-language model.
        checks: whether anything is evaluated in addition to the predictions for the faces as they are:
            restorations, robustness, controls, data quality, costs.
        variant_checks: whether robustness, controls and costs are evaluated for the variants too.
        corruption_limit, severities: faces and severities of the corruption check.
        metamorphic_limit: faces of the metamorphic check.
        searched_faces, search_examples: faces for which the smallest perturbation that changes the prediction
            is searched, and the number of perturbations tried for each.
        question_limit: faces of the question check of vision-language models.
        prompt_search_examples: prompts that the search for the worst prompt writes.
        control_limit: faces of each control (blank faces, shuffled pixels, …).
        all_training_steps: whether a training step is timed for every model with a recipe, or for the fastest
            of them only.
        cost_rounds: how often each step is timed (an interval needs six); a multiple of it for a single face.
        near_copies: whether the audit searches near copies, by perceptual hash; exact copies and leaks are
            always found.
    """

    name: str = "full"
    zoo_models: int | None = None
    limit: int | None = None
    variant_limit: int | None = None
    checks: bool = True
    variant_checks: bool = True
    corruption_limit: int = 21
    severities: tuple[int, ...] = (1, 2, 3, 4, 5)
    metamorphic_limit: int = 70
    searched_faces: int = 3
    search_examples: int = 60
    question_limit: int = 70
    prompt_search_examples: int = 200
    control_limit: int = 210
    all_training_steps: bool = True
    cost_rounds: int = 6
    near_copies: bool = True

    def size_suffix(self, *fields: str) -> str:
        """Suffix of a figure's name: empty at the sizes of `FULL`, ` (7 faces, severity 3)` at others."""
        if all(getattr(self, name) == getattr(FULL, name) for name in fields):
            return ""
        values = {name: getattr(self, name) for name in fields}
        texts = {n: " ".join(map(str, v)) if isinstance(v, tuple) else str(v) for n, v in values.items()}
        return f" ({', '.join(_SIZE_FORMATS[name].format(text) for name, text in texts.items())})"

    def left_out(self, whole_variants: bool = False) -> list[str]:
        """Phrases for what `full` evaluates and this depth does not.

        Args:
            whole_variants: the variants are predicted on all faces in spite of `variant_limit`, as for a
                record.
        """
        if not self.checks:
            return [
                f"all but the {self.zoo_models} fastest models, and all but {self.limit} faces",
                "restorations, robustness, controls, data quality, costs",
            ]
        phrases = []
        if self.variant_limit is not None and not whole_variants:
            phrases.append(f"restorations and +likelihood beyond {self.variant_limit} faces")
        if not self.variant_checks:
            phrases.append("robustness, controls and costs of restorations and +likelihood")
        if severities := [str(s) for s in FULL.severities if s not in self.severities]:
            phrases.append(f"corruption severities {', '.join(severities)}")
        sizes = [(self.corruption_limit, FULL.corruption_limit, "corruptions")]
        sizes += [(self.metamorphic_limit, FULL.metamorphic_limit, "perturbations")]
        sizes += [(self.question_limit, FULL.question_limit, "questions")]
        if smaller := [f"{size} ({name})" for size, whole, name in sizes if size < whole]:
            phrases.append(f"robustness checks beyond {', '.join(smaller)} faces")
        if self.prompt_search_examples < FULL.prompt_search_examples:
            phrases.append(f"prompt searches beyond {self.prompt_search_examples} prompts")
        if not self.all_training_steps:
            phrases.append("all training steps but the fastest")
        if not self.near_copies:
            phrases.append("near copies in the data (exact copies are found)")
        return phrases


FULL = Depth()
STANDARD = Depth(
    name="standard",
    variant_limit=49,
    variant_checks=False,
    corruption_limit=7,
    severities=(3,),
    metamorphic_limit=7,
    searched_faces=1,
    search_examples=10,
    question_limit=7,
    prompt_search_examples=10,
    control_limit=35,
    all_training_steps=False,
    cost_rounds=2,
    near_copies=False,
)
QUICK = Depth(name="quick", zoo_models=3, limit=350, checks=False, near_copies=False)
DEPTHS = {depth.name: depth for depth in (QUICK, STANDARD, FULL)}
