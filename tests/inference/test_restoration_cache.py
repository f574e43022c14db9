"""Restored faces on disk: each face restored once, whatever happens."""

import io
import multiprocessing

import numpy as np
import pytest
from fakes import full_disk, toy_faces
from PIL import Image

from fer_models.artifacts import checksummed_files
from fer_models.config import EvalConfig
from fer_models.errors import DamagedFileWarning, RestorationError, StoreError
from fer_models.images import face_hash
from fer_models.inference import restoration_cache
from fer_models.inference.restoration_cache import CachedRestorer
from fer_models.inference.runner import Runner
from fer_models.zoo.registry import Registry
from fer_models.zoo.restorers import RAW
from fer_models.zoo.spec import ModelSpec, RestorerSpec, Runtime

FACES = toy_faces(28)


class Negative:
    """Invert faces, count them, and stop after some."""

    def __init__(self, dies_after=None):
        self.dies_after, self.given = dies_after, 0

    def restore(self, faces):
        if self.dies_after is not None and self.given >= self.dies_after:
            raise KeyboardInterrupt
        self.given += len(faces)
        return [np.repeat(255 - face, 2, axis=0) for face in faces]


def cached(root, restorer, identity=None):
    return CachedRestorer(root, "negative", identity or {"restorer": "negative"}, lambda: restorer)


def test_each_face_is_restored_once_and_comes_back_as_it_was_restored(tmp_path):
    restorer, faces = Negative(), FACES.faces(range(28))
    first = cached(tmp_path, restorer).restore(faces[:20])
    again = cached(tmp_path, restorer).restore([*faces[10:], faces[0], faces[0]])
    assert restorer.given == 28
    for face, result in zip([*faces[:20], *faces[10:], faces[0], faces[0]], [*first, *again], strict=True):
        np.testing.assert_array_equal(result, np.repeat(255 - face, 2, axis=0))


def test_a_restorer_is_not_loaded_for_cached_faces(tmp_path):
    faces = FACES.faces(range(4))
    cached(tmp_path, Negative()).restore(faces)
    CachedRestorer(tmp_path, "negative", {"restorer": "negative"}, lambda: pytest.fail("loaded")).restore(
        faces
    )


def test_other_weights_or_another_precision_share_nothing(tmp_path):
    restorer, faces = Negative(), FACES.faces(range(3))
    for identity in (
        {"weights": 1, "precision": "float32"},
        {"weights": 2, "precision": "float32"},
        {"weights": 1, "precision": "bf16"},
    ):
        cached(tmp_path, restorer, identity).restore(faces)
    assert restorer.given == 9


def test_a_killed_run_resumes_with_the_missing_faces(tmp_path, monkeypatch):
    monkeypatch.setattr(restoration_cache, "BATCH_SIZE", 8)
    faces = FACES.faces(range(28))
    with pytest.raises(KeyboardInterrupt):
        cached(tmp_path, Negative(dies_after=16)).restore(faces)
    survivor = Negative()
    cached(tmp_path, survivor).restore(faces)
    assert survivor.given == 12


def test_partial_files_of_a_killed_process_are_removed(tmp_path):
    restorer_with_cache = cached(tmp_path, Negative())
    restorer_with_cache.folder.mkdir()
    (restorer_with_cache.folder / "abc.123.part").write_bytes(b"half a pictu")
    restorer_with_cache.restore(FACES.faces([0]))
    assert not list(restorer_with_cache.folder.rglob("*.part"))


@pytest.mark.parametrize(
    "damage",
    [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b"no picture", lambda b: b[:600] + b"\0" + b[601:]],
)
def test_a_damaged_face_is_named_and_restored_again(tmp_path, damage):
    restorer_with_cache, face, again = cached(tmp_path, Negative()), FACES.face(0), Negative()
    restorer_with_cache.restore([face])
    path = file_of(restorer_with_cache, face)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    with pytest.warns(DamagedFileWarning, match=f"{path.name} is damaged"):
        (result,) = cached(tmp_path, again).restore([face])
    np.testing.assert_array_equal(result, np.repeat(255 - face, 2, axis=0))
    assert again.given == 1
    assert path.read_bytes() == whole


def file_of(restorer_with_cache, face):
    """The cache file of a restored face."""
    (path,) = restorer_with_cache.folder.rglob(f"{face_hash(face)}-*.png")
    return path


def test_a_picture_under_the_wrong_name_is_not_used(tmp_path):
    """Not even where the checksum in its name is right."""
    restorer_with_cache, (one, other) = cached(tmp_path, Negative()), FACES.faces([0, 1])
    restorer_with_cache.restore([one, other])
    plain = io.BytesIO()
    Image.fromarray(one).save(plain, "PNG")
    for content in (file_of(restorer_with_cache, other).read_bytes(), plain.getvalue()):
        path = file_of(restorer_with_cache, one)
        path.unlink()
        path.with_name(f"{face_hash(one)}-{checksummed_files.checksum(content)}.png").write_bytes(content)
        with pytest.warns(DamagedFileWarning, match="holds another face"):
            (result,) = restorer_with_cache.restore([one])
        np.testing.assert_array_equal(result, np.repeat(255 - one, 2, axis=0))


def test_a_full_disk_is_an_error_and_cached_faces_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(restoration_cache, "BATCH_SIZE", 4)
    restorer_with_cache, faces = cached(tmp_path, Negative()), FACES.faces(range(8))
    restorer_with_cache.restore(faces[:4])
    bytes_per_file = 1000
    with (
        full_disk(bytes_per_file),
        pytest.raises(
            StoreError, match=r"by negative cannot be stored in .+Free some space or choose --store FOLDER"
        ),
    ):
        restorer_with_cache.restore(faces)
    assert len(list(restorer_with_cache.folder.rglob("*.png"))) == 4
    assert not list(restorer_with_cache.folder.rglob("*.part"))
    assert len(restorer_with_cache.restore(faces)) == 8


@pytest.mark.parametrize(
    ("restore", "message"),
    [
        (lambda faces: faces[:1], "was given 2 faces and returned 1"),
        (lambda faces: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_a_failure_to_restore_is_an_error_and_caches_nothing(tmp_path, restore, message):
    restorer = Negative()
    restorer.restore = restore
    with pytest.raises(RestorationError, match=message):
        cached(tmp_path, restorer).restore(FACES.faces([0, 1]))
    assert not list(tmp_path.rglob("*.png"))


def restore_and_count(root, counter):
    """What a second process does."""

    class Counting(Negative):
        def restore(self, faces):
            with counter.get_lock():
                counter.value += len(faces)
            return super().restore(faces)

    cached(root, Counting()).restore(FACES.faces(range(28)))


@pytest.mark.slow
def test_two_processes_restore_no_face_twice(tmp_path):
    context = multiprocessing.get_context("spawn")
    counter = context.Value("i", 0)
    processes = [context.Process(target=restore_and_count, args=(tmp_path, counter)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [p.exitcode for p in processes] == [0, 0]
    assert counter.value == 28


def runner(tmp_path, restorer, **runtime):
    """A run of two models over one slow restorer and none."""
    from fer_models.classifiers.dummy import Constant
    from fer_models.emotions import Emotion

    def spec(name, loaded, **fields):
        return RestorerSpec(name, lambda given: loaded, **fields)

    models = [ModelSpec(e.label, lambda given, e=e: Constant(e)) for e in (Emotion.SAD, Emotion.HAPPY)]
    restorers = Registry(
        "restorer", RAW, spec("slow", restorer, cached=True, precision="float32"), spec("quick", restorer)
    )
    options = EvalConfig(
        "synthetic", split="validation", limit=21, store=tmp_path / "store", runtime=Runtime(**runtime)
    )
    return Runner(options, Registry("model", *models), restorers)


def test_a_run_restores_each_face_once_for_all_its_models(tmp_path):
    restorer = Negative()
    run = runner(tmp_path, restorer)
    for model in ("sad", "happy"):
        assert len(run.predict((model, "slow")).predictions) == 21
    assert restorer.given == 21
    assert len(list((tmp_path / "restored").rglob("*.png"))) == 21
    other = runner(
        tmp_path, restorer, precision="bf16"
    )  # the models are others then, and so are the restored faces
    other.predict(("sad", "slow"))
    assert restorer.given == 42


def test_a_fast_restorer_caches_nothing(tmp_path):
    restorer = Negative()
    run = runner(tmp_path, restorer)
    for model in ("sad", "happy"):
        run.predict((model, "quick"))
    assert restorer.given == 42
    assert not (tmp_path / "restored").exists()


def test_a_run_restores_a_damaged_face_again(tmp_path):
    runner(tmp_path, Negative()).predict(("sad", "slow"))
    next((tmp_path / "restored").rglob("*.png")).write_bytes(b"")
    restorer = Negative()
    with pytest.warns(DamagedFileWarning, match="is damaged"):
        runner(tmp_path, restorer).predict(("happy", "slow"))
    assert restorer.given == 1
