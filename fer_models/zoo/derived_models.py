"""Models made of others: variants, linear probes and late fusions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from fer_models.artifacts import weights
from fer_models.artifacts.hashing import sha256_of
from fer_models.classifiers import fusion, probe
from fer_models.classifiers.base import Classifier, Embedding
from fer_models.errors import UsageError
from fer_models.zoo.model_name import CALIBRATED, CROPS, LIKELIHOOD, TTA, ModelName
from fer_models.zoo.spec import ModelSpec, Runtime, Weights, derive

T = TypeVar("T")


def check_variants(name: ModelName) -> None:
    """Check that the variants of a name do not contradict each other.

    Raises:
        UsageError: a variant is given twice, or there are two answer modes or two numbers of crops.
    """
    for variant in name.variants:
        if name.variants.count(variant) > 1:
            raise UsageError(f"{name} has +{variant} more than once. Write it once.")
    modes = [variant for variant in name.variants if variant.startswith(LIKELIHOOD)]
    crops = [variant for variant in name.variants if variant.endswith(CROPS)]
    for kind, variants in (("answer modes", modes), ("numbers of crops", crops)):
        if len(variants) > 1:
            raise UsageError(f"{name} has two {kind}: +{variants[0]} and +{variants[1]}. Choose one of them.")


def make_variant(spec: ModelSpec, variant: str) -> ModelSpec:
    """A model's `variant`, such as `tta`.

    Raises:
        UsageError: the model has no such variant.
    """
    if variant == TTA:
        return _with_flip_tta(spec)
    if variant == CALIBRATED:
        return make_calibrated(spec)
    if spec.with_variant is None:
        raise UsageError(
            f"{spec.name} has no variant +{variant}: only a vision-language model on this machine has."
        )
    return derive(spec, spec.with_variant, f"+{variant}")


def _with_flip_tta(spec: ModelSpec) -> ModelSpec:
    def load(runtime: Runtime) -> Classifier:
        from fer_models.classifiers.tta import flip_tta

        return flip_tta(spec.load(runtime))

    return replace(
        spec,
        name=str(ModelName.parse(spec.name).with_variants(TTA)),
        load=load,
        description=f"{spec.description}; mean of face and mirror image",
        settings={**spec.settings, "tta": "mean of face and mirror image"},
        with_prompts=_augmenting(spec.with_prompts),
        with_question=_augmenting(spec.with_question),
        with_variant=_augmenting(spec.with_variant),
        has_embeddings=False,  # the mirror image has an embedding of its own, so both faces are predicted
        is_fusion=False,
        same_as=None,
    )


def _augmenting(change: Callable[[T], ModelSpec] | None) -> Callable[[T], ModelSpec] | None:
    return None if change is None else lambda argument: _with_flip_tta(change(argument))


def component_hash(spec: ModelSpec) -> str | None:
    """The sha256 by which something that was fitted to a model recognizes it.

    It is that of its weights, else of the file that defines it; None for a model behind a server.

    Raises:
        WeightsMissingError: its weights are not on this machine.
    """
    file = spec.weights_path() or spec.source
    return None if file is None else sha256_of(file)


def make_probe(base: ModelSpec) -> ModelSpec:
    """A linear probe on the embeddings of `base`, fitted for exactly these weights of `base`.

    Raises:
        UsageError: `base` has no embeddings, or is a probe itself.
    """
    if not base.has_embeddings or base.components:
        raise UsageError(f"{base.name} has no embeddings for a linear probe. Take a CLIP model: clip-nano")
    name = f"{base.name}-probe"

    def locate() -> Path | None:
        path = weights.find(name)
        if path is None:
            return None
        return path if probe.read(path).base == component_hash(base) else None  # else for other weights

    def load(runtime: Runtime) -> Classifier:
        path, encoder = locate(), base.load(base.resolve(runtime))
        assert path is not None  # `ModelSpec.weights_path` has refused a missing file before
        assert isinstance(encoder, Embedding)
        return probe.LinearProbe(encoder, probe.read(path))

    command = f"fer-models probe {base.name} --dataset fer2013 --data-root FOLDER"
    return ModelSpec(
        name,
        load,
        f"linear probe on the embeddings of {base.name}",
        weights=Weights(locate, command),
        has_embeddings=True,
        components=(base,),
    )


def make_fusion(components: Sequence[ModelSpec]) -> ModelSpec:
    """Late fusion of `components`: its weights are exponents fitted for exactly these components' weights."""
    names = [component.name for component in components]
    return _pool(
        "+".join(names),
        components,
        f"late fusion of {' and '.join(names)}, from their predictions",
        f"fer-models fuse {' '.join(names)} --dataset fer2013 --data-root FOLDER",
    )


def require_name(name: str) -> None:
    """Check that a fitted model can be found by its name. Raises UsageError for one in a file."""
    parsed = ModelName.parse(name)
    parts = (parsed, *parsed.components)
    if any(part.checkpoint is not None or part.source.is_network_file for part in parts):
        raise UsageError(
            f"{name}: give models by name. A model of your own gets one in a file: --model-file FILE.py"
        )


def is_fitted(spec: ModelSpec) -> bool:
    """Whether the probabilities of a model have fitted exponents: a fusion, +calibrated, or +tta of them."""
    is_calibrated = CALIBRATED in ModelName.parse(spec.name).variants
    return spec.is_fusion or len(spec.components) > 1 or is_calibrated


def make_calibrated(base: ModelSpec) -> ModelSpec:
    """A model with temperature scaling (Guo et al., ICML 2017): a pool of one, its exponent 1 / temperature.

    No prediction changes, only the probabilities.

    Raises:
        UsageError: the probabilities of `base` are fitted already, or it is in a file, so that no file of a
            temperature can be found by its name.
    """
    if is_fitted(base):
        raise UsageError(f"{base.name} is fitted to its probabilities already: it has no +{CALIBRATED}.")
    require_name(base.name)
    return _pool(
        str(ModelName.parse(base.name).with_variants(CALIBRATED)),
        (base,),
        f"{base.description}; with temperature scaling",
        f"fer-models calibrate {base.name} --dataset fer2013 --data-root FOLDER",
    )


def _pool(name: str, components: Sequence[ModelSpec], description: str, command: str) -> ModelSpec:
    """A model that pools the predictions of `components` with exponents from a file.

    Args:
        name: the model's; its file is `NAME.json`.
        components: the models.
        description: of the model.
        command: fits the exponents.
    """
    path = weights.find(name, ".json")
    fitted = None if path is None else fusion.read(path)

    def locate() -> Path | None:
        if fitted is None:
            return None
        hashes = [component_hash(component) for component in components]
        return path if hashes == list(fitted.weights) else None  # else fitted for other weights

    def load(runtime: Runtime) -> Classifier:
        assert fitted is not None  # `ModelSpec.weights_path` has refused a missing file before
        classifiers = [component.load(component.resolve(runtime)) for component in components]
        return fusion.LateFusion(classifiers, fitted.exponents)

    return ModelSpec(
        name,
        load,
        description,
        weights=Weights(locate, command),
        settings={} if fitted is None else {"fitted_on": dict(fitted.fitted_on)},
        is_fusion=True,
        components=tuple(components),
    )
