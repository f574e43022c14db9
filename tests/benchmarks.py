"""Speed as ratios within one run, on a machine that does nothing else: `pytest tests/benchmarks.py`. Not part of `pytest tests`."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from chats import checkpoint
from fakes import drawn
from test_phi3v import by_full_passes

from fer_models.classifiers import clip, phi3v, prompts, questions

ASKED = questions.load("one-word")


def seconds(benchmark, step, rounds=5):
    benchmark.pedantic(step, rounds=rounds, iterations=1, warmup_rounds=1)
    return benchmark.stats.stats.median


@pytest.fixture(scope="module")
def chat(tmp_path_factory):
    """A network large enough that matrices, and not Python, take its time; as many tokens per face as Phi-3.5-vision takes."""
    tower = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4, "image_size": 336, "patch_size": 14}
    return phi3v.load(checkpoint(tmp_path_factory.mktemp("bench"), hidden=512, layers=8, heads=8, vision=tower), device="cpu")


@pytest.mark.benchmark(group="seven replies")
@pytest.mark.parametrize("way", ["separate passes", "one shared prompt"])
def test_scoring_seven_replies(benchmark, chat, way):
    faces, asked = drawn(4).faces(range(4)), ASKED.written()
    ways = {
        "separate passes": lambda: by_full_passes(chat, faces, asked, ASKED.replies),
        "one shared prompt": lambda: chat.score(faces, asked, ASKED.replies),
    }
    with torch.inference_mode():
        seconds(benchmark, ways[way])
        np.testing.assert_allclose(*(np.asarray(one()) for one in ways.values()), atol=1e-4)


@pytest.mark.benchmark(group="prompt sets")
@pytest.mark.parametrize("sets", [1, 24])
def test_asking_many_prompt_sets(benchmark, sets):
    """All faces of a run, looked at once, with one prompt set or 24: `image_passes` counts faces that the image tower saw."""
    torch.manual_seed(0)
    model = clip.Clip(clip.create("RN50"), clip.open_clip.get_tokenizer("RN50"), prompts.load("openai"), torch.device("cpu"))
    faces, fresh, passes = drawn(140).faces(range(140)), itertools.count(), 0
    looking = model._encode

    def counted(batch):
        nonlocal passes
        passes += len(batch)
        return looking(batch)

    model._encode = counted

    def ask():
        features = model.embed(faces)
        for _ in range(sets):
            model.classify(features, replace(prompts.load("plain"), templates=(f"{next(fresh)} a {{}} face",)))

    seconds(benchmark, ask, rounds=3)
    benchmark.extra_info["image_passes"] = passes / 4  # three rounds and the warm-up
