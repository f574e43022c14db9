import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fakes import toy_faces
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from fer_models.classifiers import fusion
from fer_models.classifiers.base import Predictions, device_of
from fer_models.classifiers.dummy import Abstainer, Constant
from fer_models.classifiers.fusion import FusionWeights, LateFusion, fit, negative_log_likelihood, pool
from fer_models.classifiers.tta import flip_tta
from fer_models.config import EvalConfig
from fer_models.emotions import Emotion
from fer_models.errors import DatasetError, WeightsError, WeightsMissingError
from fer_models.evaluation import Evaluation
from fer_models.gate.restoration_effect import ALL_MODELS
from fer_models.zoo import resolve, restorers
from fer_models.zoo.model_name import ModelName
from fer_models.zoo.registry import Registry
from fer_models.zoo.spec import ModelSpec, Runtime

FUSION = (
    '{"format": "fer-models-fusion", "components": ["a", "b"], "exponents": EXPONENTS,'
    ' "weights": [null, null], "fitted_on": {}}'
)


def random_predictions(seed, n=400, sharpness=1.0):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(7, 0.5), n) ** sharpness
    return Predictions.from_probabilities(p / p.sum(axis=1, keepdims=True))


probabilities = arrays(np.float64, (5, 7), elements=st.floats(0.01, 1)).map(
    lambda p: Predictions.from_probabilities(p / p.sum(axis=1, keepdims=True))
)


@given(probabilities, probabilities, st.floats(0, 3), st.floats(0.01, 3))
@settings(deadline=None)
def test_a_pool_does_not_depend_on_the_order_of_its_components(a, b, v, w):
    np.testing.assert_allclose(
        pool([a, b], (v, w)).probabilities, pool([b, a], (w, v)).probabilities, atol=1e-12
    )


@given(probabilities, probabilities)
@settings(deadline=None)
def test_a_component_with_exponent_0_changes_nothing(a, b):
    np.testing.assert_allclose(pool([a, b], (1, 0)).probabilities, a.probabilities, atol=1e-9)


@given(probabilities, st.floats(0, 1))
@settings(deadline=None)
def test_a_model_pooled_with_itself_predicts_the_same(a, w):
    np.testing.assert_allclose(pool([a, a], (w, 1 - w)).probabilities, a.probabilities, atol=1e-9)


def test_a_face_without_prediction_of_a_component_has_none_with_its_reason():
    faces = toy_faces(3).faces(range(3))
    pooled = pool([Constant(Emotion.SAD).predict(faces), Abstainer().predict(faces)], (1, 1))
    assert pooled.answer.tolist() == [-1, -1, -1]
    assert pooled.status == Abstainer().predict(faces).status
    assert np.isnan(pooled.probabilities).all()


def truth_of(a, b, v, w, seed=0):
    rows = pool([a, b], (v, w)).probabilities
    rng = np.random.default_rng(seed)
    return np.array([rng.choice(7, p=row) for row in rows])


def test_the_exponents_that_made_the_truth_are_found():
    a, b = random_predictions(1, 8000), random_predictions(2, 8000)
    assert fit([a, b], truth_of(a, b, 0.9, 0.4)) == pytest.approx((0.9, 0.4), abs=0.06)


def test_a_misleading_component_gets_exponent_0():
    a, misleading = random_predictions(1), random_predictions(2)
    exponents = fit([a, misleading], truth_of(a, misleading, 1.2, -0.5))
    assert exponents[1] == 0
    assert exponents[0] > 0.5


def test_no_other_exponents_are_more_likely():
    a, b = random_predictions(3), random_predictions(4)
    truth = truth_of(a, b, 0.7, 0.3)
    fitted = fit([a, b], truth)
    least = log_loss(truth, pool([a, b], fitted).probabilities, labels=range(7))
    assert negative_log_likelihood(pool([a, b], fitted), truth) == pytest.approx(least, abs=1e-6)
    rng = np.random.default_rng(0)
    for _ in range(200):
        other = np.maximum(0, np.array(fitted) + rng.normal(0, 0.3, 2))
        assert log_loss(truth, pool([a, b], other).probabilities, labels=range(7)) >= least - 1e-6


def test_with_two_emotions_it_is_logistic_regression():
    rng = np.random.default_rng(0)
    first, second = rng.uniform(0.05, 0.95, (2, 3000))

    def two(p):
        rows = np.full((len(p), 7), 1e-9)
        rows[:, 0], rows[:, 1] = p, 1 - p
        return Predictions.from_probabilities(rows / rows.sum(axis=1, keepdims=True))

    logits = np.stack([np.log(p / (1 - p)) for p in (first, second)], axis=1)
    truth = (rng.random(3000) > 1 / (1 + np.exp(-(logits @ [0.8, 0.5])))).astype(np.int64)
    oracle = LogisticRegression(C=1e6, fit_intercept=False).fit(logits, truth == 0)
    assert fit([two(first), two(second)], truth) == pytest.approx(tuple(oracle.coef_[0]), abs=0.01)


def test_nothing_is_fitted_without_faces_that_all_predict():
    faces = toy_faces(3).faces(range(3))
    with pytest.raises(DatasetError, match="prediction of every model"):
        fit([Constant(Emotion.SAD).predict(faces), Abstainer().predict(faces)], np.zeros(3, dtype=np.int64))


def test_a_fusion_is_read_as_it_was_written(tmp_path):
    weights = FusionWeights(
        ("a", "b"), (0.5, 0.25), ("f" * 64, None), {"name": "x", "n": 3, "fingerprint": "z"}
    )
    weights.write(tmp_path / "deep" / "f.json")
    assert fusion.read(tmp_path / "deep" / "f.json") == weights


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "[]",
        "null",
        '{"format": "other"}',
        '{"format": "fer-models-fusion"}',
        FUSION.replace("EXPONENTS", "[1]"),
        FUSION.replace("EXPONENTS", "[1, -1]"),
        FUSION.replace("EXPONENTS", "[0, 0]"),
        FUSION.replace("EXPONENTS", "[1, NaN]"),
    ],
)
def test_a_broken_fusion_file_is_refused_with_the_way_out(tmp_path, broken):
    (tmp_path / "f.json").write_text(broken)
    with pytest.raises(WeightsError, match="fer-models fuse"):
        fusion.read(tmp_path / "f.json")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("vgg19", ("vgg19",)),
        ("vgg19+tta", ("vgg19+tta",)),
        ("vgg19+resnet50", ("vgg19", "resnet50")),
        ("vgg19+tta+resnet50+tta", ("vgg19+tta", "resnet50+tta")),
        ("vgg19+tta@a+b.safetensors", ("vgg19+tta@a+b.safetensors",)),
    ],
)
def test_a_fusions_name_holds_its_components(name, parts):
    parsed = ModelName.parse(name)
    assert tuple(map(str, parsed.components or [parsed])) == parts


def test_a_fusion_of_known_models_is_made_of_them():
    assert ModelName.parse("a+b+tta").is_made_of({"a", "b"})
    assert not ModelName.parse("a+c").is_made_of({"a", "b"})


# -- as a subject -----------------------------------------------------------------------------


class Counting:
    """Predicts one emotion, more probable for bright faces, and counts the faces."""

    n_predicted = 0

    def __init__(self, emotion):
        self.emotion = emotion

    def predict(self, faces):
        Counting.n_predicted += len(faces)
        rows = np.full((len(faces), 7), 0.1)
        rows[:, self.emotion] += [float(face.mean()) / 255 for face in faces]
        return Predictions.from_probabilities(rows / rows.sum(axis=1, keepdims=True))


@pytest.fixture
def models(tmp_path, monkeypatch):
    monkeypatch.setenv("FER_MODELS_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setattr(Counting, "n_predicted", 0)
    return Registry(
        "model",
        ModelSpec("happily", lambda runtime: Counting(3)),
        ModelSpec("sadly", lambda runtime: Counting(4)),
    )


@pytest.fixture
def folder(tmp_path):
    for split in ("train", "validation", "test"):
        some_faces = toy_faces(14, "train" if split == "train" else "validation")
        for i, (image, label) in enumerate(zip(some_faces.images, some_faces.labels, strict=True)):
            place = tmp_path / "faces" / split / Emotion(int(label)).label
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(place / f"{i}.png")
    return tmp_path / "faces"


def weigh(folder, weights=(None, None), fingerprint="elsewhere"):
    FusionWeights(("happily", "sadly"), (0.5, 2.0), weights, {"fingerprint": fingerprint}).write(
        folder / "weights" / "happily+sadly.json"
    )


def suite_of(tmp_path, folder, models):
    return Evaluation(
        EvalConfig(str(folder), split="test", store=tmp_path / "store", baselines=tmp_path / "none.json"),
        models,
        restorers.RESTORERS,
    )


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ([], None),
        ([None, "abacus"], None),
        (["cpu", None], "cpu"),
        (["cpu", torch.device("cuda", 1)], "cuda"),
        (["server", "cpu"], "server"),
    ],
)
def test_a_model_computes_where_its_parts_do(devices, expected):
    parts = [SimpleNamespace(device=device) for device in devices]
    assert device_of(*parts) == expected
    assert LateFusion(parts, [1.0] * len(parts)).device == expected


def test_a_model_with_slots_and_without_a_size_can_be_augmented():
    class Slotted:
        __slots__ = ()

        def predict(self, faces):
            return Constant(Emotion.SAD).predict(faces)

    faces = [np.zeros((48, 48, 3), np.uint8)]
    assert flip_tta(Slotted()).predict(faces).answer.tolist() == [Emotion.SAD]


def test_a_component_that_was_predicted_for_a_fusion_is_not_called_stored(tmp_path, folder, models):
    weigh(tmp_path)
    models.add(resolve.resolve_model("happily+sadly", models))
    suite = suite_of(tmp_path, folder, models)
    assert not suite.runner.predict(("happily+sadly", "raw")).from_store
    assert [combination.model for combination in suite.runner.completed()] == ["happily+sadly"]
    assert not suite.runner.predict(("happily", "raw")).from_store
    assert suite_of(tmp_path, folder, models).runner.predict(("happily", "raw")).from_store


def test_a_fusion_uses_its_components_stored_predictions_and_predicts_no_face_again(tmp_path, folder, models):
    weigh(tmp_path)
    models.add(resolve.resolve_model("happily+sadly", models))
    suite = suite_of(tmp_path, folder, models)
    first, second = (suite.runner.predict((name, "raw")).predictions for name in ("happily", "sadly"))
    n_predicted = Counting.n_predicted
    fused = suite.runner.predict(("happily+sadly", "raw"))
    assert Counting.n_predicted == n_predicted == 28
    parts = [Predictions(a.probabilities, a.status, a.text, ()) for a in (first, second)]
    np.testing.assert_allclose(
        fused.predictions.probabilities, pool(parts, (0.5, 2.0)).probabilities, atol=1e-6
    )
    again = suite_of(tmp_path, folder, models).runner.predict(("happily+sadly", "raw"))
    assert again.from_store
    np.testing.assert_array_equal(again.predictions.probabilities, fused.predictions.probabilities)


def test_a_fusion_alone_runs_its_components_and_predicts_the_same(tmp_path, folder, models):
    weigh(tmp_path)
    only = resolve.resolve_model("happily+sadly", models)
    suite = suite_of(tmp_path, folder, Registry("model", only))
    run = suite.runner.predict((only.name, "raw"))
    assert Counting.n_predicted == 28
    assert suite.runner.completed() == [(only.name, "raw")]
    faces = suite.runner.data.faces
    direct = only.load(Runtime()).predict(faces.faces(range(len(faces))))
    assert isinstance(only.load(Runtime()), LateFusion)
    np.testing.assert_allclose(run.predictions.probabilities, direct.probabilities, atol=1e-6)


def test_a_fusion_that_was_not_fitted_names_the_command(models):
    with pytest.raises(WeightsMissingError, match="fer-models fuse happily sadly"):
        resolve.resolve_model("happily+sadly", models).weights_path()


def test_a_fusion_fitted_for_other_weights_counts_as_none(tmp_path, models):
    weigh(tmp_path, weights=("0" * 64, None))
    with pytest.raises(WeightsMissingError, match="fer-models fuse"):
        resolve.resolve_model("happily+sadly", models).weights_path()


def test_a_fusions_key_changes_with_its_exponents(tmp_path, folder, models):
    weigh(tmp_path)
    before = resolve.resolve_model("happily+sadly", models).identity(Runtime())
    assert [part["model"] for part in before["components"]] == ["happily", "sadly"]
    path = tmp_path / "weights" / "happily+sadly.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"exponents": [1, 1]}))
    assert resolve.resolve_model("happily+sadly", models).identity(Runtime()) != before


def test_a_score_on_the_faces_of_the_fit_has_a_note(tmp_path, folder, models):
    faces = suite_of(tmp_path, folder, models).runner.data.full_split
    weigh(tmp_path, fingerprint=faces.fingerprint)
    models.add(resolve.resolve_model("happily+sadly", models))
    suite = suite_of(tmp_path, folder, models)
    assert any(
        "weighed on these very faces" in note for note in suite.result(("happily+sadly", "raw"))["notes"]
    )
    assert not any("weighed" in note for note in suite.result(("happily", "raw"))["notes"])


def test_over_all_models_a_fusion_and_variants_of_a_model_count_once(tmp_path, folder, models):
    models.add(ModelSpec("silent", lambda runtime: Abstainer()))
    models.add(ModelSpec("happily+tta", lambda runtime: Abstainer()))
    FusionWeights(("happily", "silent"), (1.0, 1.0), (None, None), {"fingerprint": "elsewhere"}).write(
        tmp_path / "weights" / "happily+silent.json"
    )
    models.add(resolve.resolve_model("happily+silent", models))
    suite = suite_of(tmp_path, folder, models)
    for model in models.names:
        for restoration in ("raw", "bicubic"):
            suite.runner.predict((model, restoration))
    effects = {effect.model: effect for effect in suite.effects.all()}
    assert set(effects) == {*models.names, ALL_MODELS}
    accuracies = {name: effects[name].accuracy["before"] for name in models.names}
    assert accuracies == {
        "happily": 1 / 7,
        "sadly": 1 / 7,
        "silent": 0,
        "happily+tta": 0,
        "happily+silent": 0,
    }
    assert effects[ALL_MODELS].accuracy["before"] == pytest.approx(2 / 7 / 3)
