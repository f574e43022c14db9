"""Speed as ratios within one run, on a machine that does nothing else: `pytest tests/benchmarks.py`. Not part
of `pytest tests`.
"""

import importlib
import itertools
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from chats import by_full_passes, checkpoint
from fakes import toy_faces

from fer_models.artifacts.device import bf16_is_fast
from fer_models.classifiers import clip, prompts
from fer_models.classifiers.vlm import phi3v, questions
from fer_models.restorers import full_image, gfpgan

QUESTION = questions.load("one-word")


def seconds(benchmark, step, rounds=5):
    benchmark.pedantic(step, rounds=rounds, iterations=1, warmup_rounds=1)
    return benchmark.stats.stats.median


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    """A network large enough that matrices, and not Python, take its time; as many tokens per face as
    Phi-3.5-vision takes.
    """
    tower = {
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": 336,
        "patch_size": 14,
    }
    return phi3v.load(
        checkpoint(tmp_path_factory.mktemp("bench"), hidden=512, layers=8, heads=8, vision=tower),
        device="cpu",
    )


@pytest.mark.benchmark(group="seven replies")
@pytest.mark.parametrize("way", ["separate passes", "one shared prompt"])
def test_scoring_seven_replies(benchmark, chat, way):
    faces, question = toy_faces(4).faces(range(4)), QUESTION.render()
    ways = {
        "separate passes": lambda: by_full_passes(chat, faces, question, QUESTION.replies),
        "one shared prompt": lambda: chat.loglikelihood(faces, question, QUESTION.replies),
    }
    with torch.inference_mode():
        seconds(benchmark, ways[way])
        np.testing.assert_allclose(*(np.asarray(one()) for one in ways.values()), atol=1e-4)


@pytest.mark.benchmark(group="prompt sets")
@pytest.mark.parametrize("sets", [1, 24])
def test_many_prompt_sets(benchmark, sets):
    """As many faces as the embedded default has, encoded once, with one prompt set or 24: `image_passes`
    counts faces that the image encoder encoded.
    """
    torch.manual_seed(0)
    model = clip.Clip(
        clip.create(clip.NANO),
        clip.open_clip.get_tokenizer(clip.NANO),
        prompts.load("openai"),
        torch.device("cpu"),
    )
    faces, fresh, passes = toy_faces(1050, "test").faces(range(1050)), itertools.count(), 0
    encode = model.encode

    def counted(batch):
        nonlocal passes
        passes += len(batch)
        return encode(batch)

    model.encode = counted

    def classify_all():
        features = model.embed(faces)
        for _ in range(sets):
            model.classify(
                features, replace(prompts.load("plain"), templates=(f"{next(fresh)} a {{}} face",))
            )

    seconds(benchmark, classify_all, rounds=3)
    benchmark.extra_info["image_passes"] = passes / 4  # three rounds and the warm-up


@pytest.fixture(scope="module")
def their_gfpganer(tmp_path_factory):
    """GFPGAN's own `GFPGANer`, and our network on the same weights: the full-size network, freshly
    initialised, from a file.
    """
    sys.modules.setdefault(
        "torchvision.transforms.functional_tensor",
        importlib.import_module("torchvision.transforms.functional"),
    )
    theirs = pytest.importorskip("gfpgan", reason="the extra gfpgan is not installed", exc_type=ImportError)
    from facexlib.detection.retinaface import RetinaFace
    from facexlib.parsing.parsenet import ParseNet

    folder = tmp_path_factory.mktemp("gfpgan")
    file, folder_of_detectors = (
        folder / "GFPGAN.pth",
        folder / "gfpgan" / "weights",
    )  # where it looks for what finds faces, under the working directory
    folder_of_detectors.mkdir(parents=True)
    torch.manual_seed(0)
    network = gfpgan.build(gfpgan.FULL)
    torch.save({"params_ema": network.state_dict()}, file)
    finders = (RetinaFace("resnet50", device="cpu"), ParseNet(in_size=512, out_size=512, parsing_ch=19))
    for name, finder in zip(full_image.FILES, finders, strict=True):
        torch.save(finder.state_dict(), folder_of_detectors / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return theirs.GFPGANer(str(file), upscale=1, device=torch.device("cpu")), network


@pytest.mark.filterwarnings("ignore")  # of packages that are years old
@pytest.mark.benchmark(group="GFPGAN, face by face")
@pytest.mark.parametrize("way", ["GFPGANer.enhance", "float32", "automatic precision"])
def test_restoring_faces(benchmark, their_gfpganer, way):
    """Faces of 48 pixels at full size, one by one; `largest_difference` is that of any pixel from GFPGANer's,
    in steps of 255.
    """
    theirs, network = their_gfpganer
    faces = toy_faces(3).faces(range(3))

    def enhanced():
        return [theirs.enhance(face[:, :, ::-1].copy(), has_aligned=True)[1][0][:, :, ::-1] for face in faces]

    def ours():
        precision = "bf16" if way == "automatic precision" and bf16_is_fast("cpu") else "float32"
        restorer = gfpgan.Gfpgan(network, gfpgan.FULL.out_size, torch.device("cpu"), precision)
        return [restorer.restore([face])[0] for face in faces]

    restore = enhanced if way == "GFPGANer.enhance" else ours
    seconds(benchmark, restore, rounds=3)
    difference = np.abs(np.asarray(restore()).astype(int) - np.asarray(enhanced()))
    benchmark.extra_info |= {"largest_difference": int(difference.max()), "faces": len(faces)}
