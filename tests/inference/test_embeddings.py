import numpy as np
import pytest
from fakes import in_canonical_order, pipeline, toy_faces

from fer_models.artifacts import checksummed_files
from fer_models.classifiers.base import Predictions
from fer_models.config import EvalConfig
from fer_models.emotions import LABELS
from fer_models.errors import DamagedFileWarning, PredictionError, StoreError
from fer_models.inference import embeddings
from fer_models.inference.runner import Runner
from fer_models.store.partition import SHARD
from fer_models.zoo.registry import Registry
from fer_models.zoo.restorers import RESTORERS
from fer_models.zoo.spec import ModelSpec, Runtime


class StripeModel:
    """Embed a face as the brightness of three stripes; the prompts only select columns."""

    n_embedded = 0

    def __init__(self, first=0):
        self.first = first

    def embed(self, faces):
        StripeModel.n_embedded += len(faces)
        return np.array(
            [[float(part.mean()) for part in np.array_split(face, 3)] for face in faces], dtype=np.float32
        )

    def classify(self, features):
        rows = np.full((len(features), 7), 0.05)
        rows[np.arange(len(features)), (features.argmax(axis=1) + self.first) % 7] = 0.7
        return Predictions.from_probabilities(rows, LABELS)

    def predict(self, faces):
        return self.classify(self.embed(faces))


@pytest.fixture(autouse=True)
def from_zero(monkeypatch):
    monkeypatch.setattr(StripeModel, "n_embedded", 0)


FACES = toy_faces(SHARD + 20)


def embed(root, model, faces=FACES, parts=None):
    order, hashes, _ = in_canonical_order(faces)
    partition = embeddings.embedding_partition(root, "toy faces/of a test", parts or {"model": 1}, hashes)
    ordered = faces.select(order)
    return partition, embeddings.embed_missing_shards(
        partition, ordered, lambda: pipeline(model, name="stripes"), batch_size=32
    )


def shard(partition, number):
    """The file of one shard."""
    (path,) = partition.folder.glob(f"part-{number:05d}-*.parquet")
    return path


def test_faces_are_embedded_once_in_canonical_order(tmp_path):
    order, _, _ = in_canonical_order(FACES)
    _, first = embed(tmp_path, StripeModel())
    np.testing.assert_array_equal(first, StripeModel().embed(FACES.faces(order)))
    n_before = StripeModel.n_embedded
    _, again = embed(tmp_path, StripeModel())
    assert StripeModel.n_embedded == n_before
    np.testing.assert_array_equal(first, again)
    embed(tmp_path, StripeModel(), parts={"model": 2})
    assert StripeModel.n_embedded > n_before


def test_a_killed_run_resumes_with_the_missing_shards(tmp_path):
    class Tiring(StripeModel):
        def embed(self, faces):
            if StripeModel.n_embedded >= SHARD:
                raise KeyboardInterrupt
            return super().embed(faces)

    with pytest.raises(KeyboardInterrupt):
        embed(tmp_path, Tiring())
    n_before = StripeModel.n_embedded
    embed(tmp_path, StripeModel())
    assert StripeModel.n_embedded - n_before == 20


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b"no parquet"])
def test_damaged_embeddings_are_named_and_computed_anew(tmp_path, damage):
    partition, features = embed(tmp_path, StripeModel())
    path = shard(partition, 0)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    n_before = StripeModel.n_embedded
    with pytest.warns(DamagedFileWarning, match=f"{path.name} is damaged"):
        _, again = embed(tmp_path, StripeModel())
    assert StripeModel.n_embedded - n_before == SHARD
    np.testing.assert_array_equal(again, features)
    assert path.read_bytes() == whole


def test_embeddings_of_another_model_or_other_faces_are_not_used(tmp_path):
    one, _ = embed(tmp_path, StripeModel())
    other = embeddings.embedding_partition(tmp_path, "toy faces/of a test", {"model": 2}, one.faces)
    other.folder.mkdir(parents=True)
    for part in one.folder.glob("*.parquet"):
        (other.folder / part.name).write_bytes(part.read_bytes())
    with pytest.raises(StoreError, match="missing or damaged"):
        other.read()
    with pytest.warns(DamagedFileWarning, match="another model"):
        embed(tmp_path, StripeModel(), parts={"model": 2})


def test_embeddings_are_plain_parquet(tmp_path):
    partition, features = embed(tmp_path, StripeModel())
    table = checksummed_files.from_parquet(shard(partition, 0).read_bytes())
    assert table.column_names == ["face", "features"]
    np.testing.assert_allclose(np.array(table["features"].to_pylist()), features[:SHARD])


@pytest.mark.parametrize(
    "returned",
    [
        lambda n: np.zeros((n - 1, 3)),
        lambda n: np.zeros(n),
        lambda n: np.full((n, 3), np.nan),
        lambda n: 1 / 0,
        lambda n: "nothing",
    ],
)
def test_invalid_embeddings_are_an_error_that_names_the_model(tmp_path, returned):
    class Wrong(StripeModel):
        def embed(self, faces):
            return returned(len(faces))

    with pytest.raises(PredictionError, match="stripes"):
        embed(tmp_path, Wrong())


def test_embeddings_whose_number_changes_between_shards_are_an_error_that_says_what_to_delete(tmp_path):
    class Changing(StripeModel):
        def embed(self, faces):
            embedded = super().embed(faces)
            return embedded if StripeModel.n_embedded <= SHARD else embedded[:, :2]

    for _ in range(2):  # the stored ones too
        with pytest.raises(StoreError, match=r"in 2 numbers and others in 3.* delete this folder"):
            embed(tmp_path, Changing())


# -- in a run -----------------------------------------------------------------------------------


def spec(name="stripes", first=0, **more):
    return ModelSpec(
        name, lambda runtime: StripeModel(first), settings={"prompts": first}, has_embeddings=True, **more
    )


def runner(tmp_path, *specs):
    return Runner(
        EvalConfig("synthetic", split="validation", limit=70, store=tmp_path / "store"),
        Registry("model", *specs),
        RESTORERS,
    )


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr("fer_models.datasets.synthetic.load", lambda split: toy_faces(70))


def test_another_prompt_set_embeds_no_face_again(tmp_path, few):
    one = runner(tmp_path, spec())
    first = one.predict(("stripes", "raw"))
    assert (StripeModel.n_embedded, first.from_store) == (70, False)
    other = runner(tmp_path, spec(first=3))
    second = other.predict(("stripes", "raw"))
    assert StripeModel.n_embedded == 70
    assert not np.array_equal(first.predictions.answer, second.predictions.answer)
    np.testing.assert_array_equal(one.embeddings(("stripes", "raw")), other.embeddings(("stripes", "raw")))
    assert runner(tmp_path, spec()).predict(("stripes", "raw")).from_store
    other.predict(("stripes", "bicubic"))
    assert StripeModel.n_embedded == 140  # restored faces are other faces


def test_predictions_from_stored_embeddings_are_those_of_predict(tmp_path, few):
    one = runner(tmp_path, spec())
    answers = one.predict(("stripes", "raw")).predictions
    direct = StripeModel().predict(one.data.faces.faces(range(70)))
    np.testing.assert_array_equal(answers.answer, direct.answer)


def test_a_model_without_the_declared_embeddings_is_an_error(tmp_path, few):
    class Deaf:
        def predict(self, faces):
            return None

    wrong = ModelSpec("deaf", lambda runtime: Deaf(), has_embeddings=True)
    with pytest.raises(PredictionError, match="has no embed and classify"):
        runner(tmp_path, wrong).predict(("deaf", "raw"))


def test_embedding_identity_does_not_depend_on_prompts_and_name():
    assert spec().embedding_identity(Runtime()) == spec("other", first=2).embedding_identity(Runtime())
    assert spec().identity(Runtime()) != spec(first=2).identity(Runtime())
