"""Whole photographs: facexlib's own helper with its own networks, randomly initialised; what knows where
faces are is an oracle.
"""

import importlib.util

import numpy as np
import pytest
import torch
from fakes import toy_faces
from PIL import Image

from fer_models import cli
from fer_models.artifacts import weights
from fer_models.artifacts.hashing import sha256_of
from fer_models.errors import RestorationError, WeightsError, WeightsMissingError
from fer_models.images import Face, resize
from fer_models.restorers import full_image
from fer_models.restorers.base import Raw
from fer_models.restorers.full_image import FILES, FullImageRestorer, Restored, before_after
from fer_models.zoo import resolve
from fer_models.zoo.registry import Registry
from fer_models.zoo.spec import RestorerSpec

#: Where a face of 200 pixels stands in the photograph: left, top.
PLACE = (60, 40)
#: FFHQ's five points (eyes, nose, corners of the mouth) in a face of 512 pixels, as facexlib has them.
POINTS = np.array(
    [
        [192.98138, 239.94708],
        [318.90277, 240.1936],
        [256.63416, 314.01935],
        [201.26117, 371.41043],
        [313.08905, 371.15118],
    ]
)


class Inverted:
    """A restorer whose work is easily seen."""

    def restore(self, faces):
        return [255 - face for face in faces]


class Oracle:
    """A detector that knows where the faces are: one row per face, as RetinaFace returns them."""

    def __init__(self, *places: tuple[int, int]) -> None:
        self.places = places

    def detect_faces(self, picture, threshold):
        rows = [
            [x, y, x + 200, y + 200, 0.99, *(POINTS * 200 / 512 + (x, y)).ravel()] for x, y in self.places
        ]
        return np.array(rows).reshape(-1, 15)


def photograph() -> Face:
    """A face on a grey wall, 320 x 280 pixels, in colour."""
    picture = np.full((280, 320, 3), (90, 110, 130), np.uint8)
    x, y = PLACE
    picture[y : y + 200, x : x + 200] = resize(toy_faces(1).face(0), 200)
    return picture


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A weights folder in which both of facexlib's files lie, with random weights."""
    parsenet = pytest.importorskip(
        "facexlib.parsing.parsenet", reason="the extra gfpgan is not installed", exc_type=ImportError
    )
    from facexlib.detection.retinaface import RetinaFace

    torch.manual_seed(0)
    with full_image._ignore_warnings():
        networks = (
            RetinaFace("resnet50", device="cpu"),
            parsenet.ParseNet(in_size=512, out_size=512, parsing_ch=19),
        )
    for head in networks[0].ClassHead.parameters():  # else random weights see faces everywhere
        torch.nn.init.zeros_(head)
    weights_dir = tmp_path_factory.mktemp("weights")
    (weights_dir / full_image.FACE_DETECTION).mkdir()
    for name, network in zip(FILES, networks, strict=True):
        torch.save(network.state_dict(), weights_dir / full_image.FACE_DETECTION / name)
    return weights_dir


@pytest.fixture
def helper(files, monkeypatch):
    """facexlib's helper; its detector is an oracle, and what it pastes is the square of the face."""
    monkeypatch.setenv("FER_MODELS_WEIGHTS", str(files))
    monkeypatch.setattr(
        full_image,
        "FILES",
        {name: ("v0", sha256_of(files / full_image.FACE_DETECTION / name)) for name in FILES},
    )
    helper = full_image.load_helper(2.0, torch.device("cpu"))
    helper.face_det, helper.use_parse = Oracle(PLACE), False
    return helper


def test_a_face_is_detected_aligned_and_restored_and_the_rest_stays_unchanged(helper):
    restored = FullImageRestorer(Inverted(), "inverted", helper).restore(photograph())
    assert restored.photograph.shape == (560, 640, 3)
    ((before, after),) = restored.faces
    assert before.shape == after.shape == (512, 512, 3)
    np.testing.assert_array_equal(after, 255 - before)
    difference = before.astype(int) - resize(toy_faces(1).face(0), 512)
    assert abs(difference).mean() < 6  # the complete face of the photograph
    middle = restored.photograph[2 * 140 - 40 : 2 * 140 + 40, 2 * 160 - 40 : 2 * 160 + 40].astype(int)
    plain = np.asarray(Image.fromarray(photograph()).resize((640, 560), Image.Resampling.LANCZOS)).astype(int)
    assert abs(middle - (255 - plain[2 * 140 - 40 : 2 * 140 + 40, 2 * 160 - 40 : 2 * 160 + 40])).mean() < 8
    np.testing.assert_array_equal(
        restored.photograph[:60, :, :], np.broadcast_to((90, 110, 130), (60, 640, 3))
    )  # colours in their order


def test_two_faces_are_both_restored_and_a_photograph_without_one_is_only_enlarged(helper):
    restorer = FullImageRestorer(Raw(), "raw", helper)
    helper.face_det = Oracle(PLACE, (100, 60))
    assert len(restorer.restore(photograph()).faces) == 2
    helper.face_det = Oracle()
    nothing = restorer.restore(photograph())
    assert nothing.faces == ()
    assert nothing.photograph.shape == (560, 640, 3)


def test_the_real_networks_run(files, helper):
    helper = full_image.load_helper(1.0, torch.device("cpu"))
    assert FullImageRestorer(Raw(), "raw", helper).restore(photograph()).faces == ()
    helper.face_det = Oracle(PLACE)
    assert len(FullImageRestorer(Raw(), "raw", helper).restore(photograph()).faces) == 1


def test_a_restorer_that_fails_is_an_error_and_not_the_face_itself(helper):
    class Broken:
        def restore(self, faces):
            raise RuntimeError("no more")

    with pytest.raises(RestorationError, match="no more"):
        FullImageRestorer(Broken(), "broken", helper).restore(photograph())


def test_a_file_that_is_missing_or_another_one_is_told(helper, files, monkeypatch, tmp_path):
    monkeypatch.setattr(full_image, "FILES", FILES)
    with pytest.raises(
        WeightsError, match=r"detection_Resnet50_Final.pth has sha256 .+, the published file has 6d1de9c2944f"
    ):
        full_image.load_helper(2.0, torch.device("cpu"))
    monkeypatch.setenv("FER_MODELS_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsMissingError, match="fer-models weights fetch face-detection"):
        full_image.load_helper(2.0, torch.device("cpu"))


@pytest.mark.skipif(importlib.util.find_spec("facexlib") is not None, reason="facexlib is installed")
def test_without_the_extra_the_command_says_what_to_install(tmp_path, monkeypatch, capsys):
    Image.fromarray(photograph()).save(tmp_path / "photo.png")
    assert cli.main(["restore", str(tmp_path / "photo.png"), "--restoration", "bicubic"]) == 4
    assert "pip install 'fer-models[gfpgan]'" in capsys.readouterr().err


# -- the command
# --------------------------------------------------------------------------------------------------------


@pytest.fixture
def command(helper, monkeypatch, tmp_path):
    """`fer-models restore`, in a folder of its own, with a restorer called inverted."""
    monkeypatch.chdir(tmp_path)
    inverted = RestorerSpec("inverted", lambda runtime: Inverted(), "")
    monkeypatch.setattr(resolve, "RESTORERS", Registry("restorer", inverted))
    monkeypatch.setattr(full_image, "load_helper", lambda upscale, device: helper)
    return lambda *arguments: cli.main(["restore", "--restoration", "inverted", *map(str, arguments)])


def test_the_command_writes_the_photograph_and_an_image_of_before_and_after(command, capsys, tmp_path):
    Image.fromarray(photograph()).save("family.jpg", quality=95)
    assert command("family.jpg") == 0
    assert "family.jpg: 1 face in " in capsys.readouterr().out
    with (
        Image.open("restored/family.png") as picture,
        Image.open("restored/family-before-after.png") as sheet,
    ):
        assert picture.size == (640, 560)
        assert sheet.size[0] > 2 * 640
    assert not list(tmp_path.rglob("*.part"))


def test_a_photograph_on_its_side_is_put_upright(command):
    rotated = Image.fromarray(np.ascontiguousarray(np.rot90(photograph())))
    exif = rotated.getexif()
    exif[0x0112] = 6  # a camera held upright writes so: show it turned clockwise
    rotated.save("phone.jpg", exif=exif, quality=95)
    assert command("phone.jpg") == 0
    with Image.open("restored/phone.png") as picture:
        assert picture.size == (640, 560)


def test_photographs_that_cannot_be_restored_are_reported_and_the_others_are_restored(
    command, capsys, helper
):
    Image.fromarray(photograph()).save("good.png")
    with open("bad.jpg", "wb") as file:
        file.write(b"no picture")
    assert command("bad.jpg", "missing.png", "good.png") == 1
    output = capsys.readouterr().out
    assert "bad.jpg cannot be read as an image" in output
    assert "missing.png cannot be opened" in output
    assert "good.png: 1 face in" in output
    helper.face_det = Oracle()
    assert command("good.png", "--output", "other") == 1
    assert "good.png: no face was found; nothing was written" in capsys.readouterr().out


def test_nothing_is_overwritten_that_was_given(command, capsys):
    Image.fromarray(photograph()).save("a.png")
    Image.fromarray(photograph()).save("a.jpg")
    assert command("a.png", "a.jpg") == 4
    assert "would both become restored/a.png" in capsys.readouterr().err
    Image.fromarray(photograph()).save("a-before-after.jpg")
    assert command("a.png", "a-before-after.jpg") == 4
    assert "would both become restored/a-before-after.png" in capsys.readouterr().err
    assert command("a.png", "--output", ".") == 4
    assert "is one of the photographs, and would be overwritten" in capsys.readouterr().err
    assert command("a.png", "--upscale", "9") == 4


@pytest.mark.parametrize(
    ("error", "reason"), [(RuntimeError("out of memory"), "out of memory"), (MemoryError(), "Close other")]
)
def test_face_detection_that_fails_costs_its_own_photograph_only(command, capsys, helper, error, reason):
    class OutOfMemory(Oracle):
        def detect_faces(self, picture, threshold):
            raise error

    Image.fromarray(photograph()).save("a.png")
    Image.fromarray(photograph()).save("b.png")
    helper.face_det = OutOfMemory()
    assert command("a.png", "b.png") == 1
    output = " ".join(capsys.readouterr().out.split())
    assert output.count(reason) == 2
    assert "a.png: The photograph's faces cannot be restored" in output
    assert "b.png: The photograph's faces cannot be restored" in output


def test_a_restoration_that_cannot_be_loaded_ends_in_a_sentence(command, capsys, monkeypatch):
    def fail(runtime):
        raise ValueError("no weights")

    monkeypatch.setattr(resolve, "RESTORERS", Registry("restorer", RestorerSpec("inverted", fail, "")))
    Image.fromarray(photograph()).save("a.png")
    assert command("a.png") == 1
    assert "'inverted' cannot be loaded: ValueError: no weights" in capsys.readouterr().err


# -- the before/after image
# ------------------------------------------------------------------------------------------------


def test_before_and_after_are_side_by_side_with_the_faces_below():
    face = np.full((512, 512, 3), 7, np.uint8)
    sheet = before_after(photograph(), Restored(resize(photograph(), 400), ((face, 255 - face),)))
    assert sheet.shape[1] > 800
    assert (sheet == 7).any()
    assert (sheet == 248).any()
    tall = np.zeros((3000, 40, 3), np.uint8)
    assert max(before_after(tall, Restored(tall, ((face, face),) * 9)).shape) < 2200


def test_the_folder_of_face_detection_is_in_the_users_weights_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("FER_MODELS_WEIGHTS", str(tmp_path))
    assert full_image.folder() == weights.user_weights_dir() / "face-detection"
