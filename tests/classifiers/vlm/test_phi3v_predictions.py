"""Scores and generated replies of the port of Phi-3.5-vision."""

import numpy as np
import pytest
import torch
from chats import VISION, by_full_passes, checkpoint
from fakes import toy_faces

from fer_models.classifiers.vlm import phi3v, questions
from fer_models.classifiers.vlm.base import VlmClassifier
from fer_models.errors import PredictionError

QUESTION = questions.load("one-word")


def faces(n=4):
    return toy_faces(n).faces(range(n))


def picture(width, height, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def mixed(n=6):
    return [*faces(n - 2), picture(90, 48), picture(30, 60)]


def test_replies_scored_together_have_the_scores_of_separate_passes(chat):
    replies = ["happy", "neutral", "surprise", "A", "happy or sad"]
    together = chat.loglikelihood(mixed(), QUESTION.render(), replies)
    with torch.inference_mode():
        apart = by_full_passes(chat, mixed(), QUESTION.render(), replies)
    assert (np.ptp(together, axis=0) > 0.02).all()  # the faces matter
    np.testing.assert_allclose(together, apart, atol=1e-4)


@pytest.mark.parametrize("way", ["generate", "likelihood", "likelihood-normalized", "likelihood-calibrated"])
def test_neighbours_in_the_batch_and_padding_change_no_answer(folder, way, monkeypatch):
    monkeypatch.setattr(
        "fer_models.classifiers.vlm.base.MAX_REPLY_TOKENS", 8
    )  # random weights never stop by themselves
    model = VlmClassifier(phi3v.load(folder, num_crops=4, device="cpu"), QUESTION, way)
    whole = model.predict(mixed())
    for start in range(0, 6, 2):
        part = model.predict(mixed()[start : start + 2])
        assert part.text == whole.text[start : start + 2]
        assert part.status == whole.status[start : start + 2]
        np.testing.assert_allclose(part.probabilities, whole.probabilities[start : start + 2], atol=1e-5)


def test_the_cost_of_a_face_is_counted(chat):
    """Nearly all of it are the matrices of tower and language model, each applied to every token."""
    model = VlmClassifier(chat, QUESTION)
    tower = sum(
        p.numel() for name, p in chat.network.named_parameters() if p.ndim == 2 and "encoder.layers" in name
    )
    language = sum(
        p.numel()
        for name, p in chat.network.named_parameters()
        if p.ndim == 2 and "language.model.layers" in name
    )
    read, patches = chat._embed_prompts(faces(1), QUESTION.render(), 1)[0].shape[1], 37
    attention = (
        3 * 2 * patches**2 * VISION["hidden_size"] + 2 * 2 * read**2 * 32
    )  # layers, two products each, of every pair of tokens
    assert model.macs == pytest.approx(tower * patches + language * read + attention, rel=0.1)
    assert model.parameters == chat.parameters == sum(p.numel() for p in chat.network.parameters())


def test_an_answer_that_would_cross_the_change_of_positions_is_refused(tmp_path, chat):
    """What was kept of the prompt has the short factors; beyond the original length all of it would need the
    long ones.
    """
    length = chat._embed_prompts(faces(1), QUESTION.render(), 1)[0].shape[1]
    short = checkpoint(
        tmp_path, original_max_position_embeddings=length + 2, max_position_embeddings=100 * length
    )
    tight = phi3v.load(short, device="cpu")
    assert tight.loglikelihood(faces(1), QUESTION.render(), ["happy"]).shape == (1, 1)
    with pytest.raises(PredictionError, match=f"A prompt of {length} tokens leaves no room"):
        tight.generate(faces(1), QUESTION.render(), 3)


def test_an_answer_ends_at_its_end_mark(chat):
    words = chat.tokenizer
    ids = [
        *words.encode("happy", add_special_tokens=False).ids,
        words.token_to_id("<|end|>"),
        *words.encode("sad").ids,
    ]
    assert chat._decode(ids) == "happy"
