"""Vision-language models that transformers loads: tiny random ones, saved and read as anybody's."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from chats import checkpoint, llava, qwen
from fakes import toy_faces
from PIL import Image

from fer_models.artifacts.hashing import sha256_of
from fer_models.classifiers.vlm import hf, questions
from fer_models.classifiers.vlm.base import ANSWER_MODES, VlmClassifier
from fer_models.classifiers.vlm.kv_cache import cache_name
from fer_models.classifiers.vlm.questions import Question
from fer_models.emotions import LABELS
from fer_models.errors import UsageError, WeightsError
from fer_models.zoo import models, resolve
from fer_models.zoo.spec import Runtime

QUESTION = questions.load("one-word")


@pytest.fixture(scope="module", params=[llava, qwen], ids=["llava", "qwen2-vl"])
def folder(request, tmp_path_factory):
    return request.param(tmp_path_factory.mktemp("vlm"))


@pytest.fixture(scope="module")
def chat(folder):
    return hf.load(folder, device="cpu")


def faces(n=4):
    return toy_faces(n).faces(range(n))


def test_replies_scored_together_have_the_scores_of_separate_passes(chat):
    replies = ["happy", "neutral", "surprise", "happy or sad"]
    together, columns = chat.loglikelihood(faces(), QUESTION.render(), replies), []
    for reply in replies:
        ids = torch.tensor(chat.tokenizer(reply, add_special_tokens=False)["input_ids"])
        rows = []
        for face in faces():
            inputs = chat._inputs([face], QUESTION.render())
            start = inputs["input_ids"].shape[1]
            for key, filling in (
                ("input_ids", ids),
                ("attention_mask", torch.ones_like(ids)),
                ("mm_token_type_ids", torch.zeros_like(ids)),
            ):
                if key in inputs:
                    inputs[key] = torch.cat([inputs[key], filling[None]], dim=1)
            with torch.inference_mode():
                logits = chat.model(**inputs).logits[0].log_softmax(-1)
            rows.append(sum(float(logits[start - 1 + j, token]) for j, token in enumerate(ids)))
        columns.append(rows)
    assert (np.ptp(together, axis=0) > 0.05).all()  # the faces matter
    np.testing.assert_allclose(together, np.array(columns).T, atol=1e-4)


@pytest.mark.parametrize("way", ANSWER_MODES)
def test_neighbours_in_the_batch_change_no_answer(chat, way, monkeypatch):
    monkeypatch.setattr(
        "fer_models.classifiers.vlm.base.MAX_REPLY_TOKENS", 8
    )  # random weights never stop by themselves
    model = VlmClassifier(chat, QUESTION, way)
    small = np.asarray(Image.fromarray(faces(1)[0]).resize((40, 60)))
    pictures = [*faces(3), small]
    whole = model.predict(pictures)
    for i, picture in enumerate(pictures):
        alone = model.predict([picture])
        assert alone.text == whole.text[i : i + 1]
        np.testing.assert_allclose(alone.probabilities[0], whole.probabilities[i], atol=1e-5)


def test_what_is_written_is_what_transformers_generates(chat):
    inputs = chat._inputs(faces(2), QUESTION.render())
    expected = chat.model.generate(**inputs, max_new_tokens=6, do_sample=False)[
        :, inputs["input_ids"].shape[1] :
    ]
    assert chat.generate(faces(2), QUESTION.render(), 6) == [
        chat.tokenizer.decode(row, skip_special_tokens=True).strip() for row in expected
    ]


def test_a_model_in_a_folder_is_asked_by_its_name_in_every_declared_way(folder):
    name = f"hf-vlm:mine@{folder}"
    plain, likely = (
        resolve.resolve_model(name, models.MODELS),
        resolve.resolve_model(f"hf-vlm:mine+likelihood@{folder}", models.MODELS),
    )
    assert plain.name == f"hf-vlm:mine@{folder.name}"
    assert likely.name == f"hf-vlm:mine+likelihood@{folder.name}"
    runtime = Runtime(device="cpu", precision="float32")
    assert plain.identity(runtime)["weights"] == likely.identity(runtime)["weights"] == sha256_of(folder)
    predictions = likely.load(likely.resolve(runtime)).predict(faces(2))
    assert predictions.probabilities.shape == (2, 7)
    assert set(predictions.status) == {"ok"}
    assert plain.prompt == "one-word"
    assert plain.with_question(questions.load("multiple-choice")).prompt == "multiple-choice"


def test_only_phi_takes_a_number_of_crops_and_only_chat_models_are_asked_how_likely(folder, tmp_path):
    cropped = resolve.resolve_model(f"hf-vlm:mine+4crops@{folder}", models.MODELS)
    with pytest.raises(UsageError, match="number of crops"):
        cropped.load(Runtime(device="cpu", precision="float32"))
    with pytest.raises(UsageError, match=r"vgg19 has no variant \+likelihood"):
        resolve.resolve_model("vgg19+likelihood", models.MODELS)
    phi_folder = checkpoint(tmp_path / "phi")
    spec = resolve.resolve_model(f"hf-vlm:phi+likelihood+4crops@{phi_folder}", models.MODELS)
    assert spec.name == "hf-vlm:phi+4crops+likelihood@phi"
    model: Any = spec.load(Runtime(device="cpu", precision="float32"))
    assert model.backend.num_crops == 4


def test_a_folder_that_is_none_is_refused_in_words(folder, tmp_path):
    with pytest.raises(UsageError, match=r"holds no config\.json"):
        resolve.resolve_model(f"hf-vlm:mine@{tmp_path}", models.MODELS)
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "unheard_of", "auto_map": {"AutoModel": "evil.Model"}})
    )
    (tmp_path / "evil.py").write_text("raise SystemExit('code that came with a model was run')")
    with pytest.raises(WeightsError, match="no vision-language model that transformers loads by itself"):
        hf.load(tmp_path, device="cpu")
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(WeightsError, match="adapter of another model"):
        hf.load(tmp_path, device="cpu")


def test_a_model_that_lacks_tensors_or_a_chat_template_is_refused(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "chat_template.jinja").unlink()
    with pytest.raises(WeightsError, match="no chat template"):
        hf.load(tmp_path, device="cpu")
    state = load_file(tmp_path / "model.safetensors")
    save_file(dict(sorted(state.items())[1:]), tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match="lacks 1 tensors"):
        hf.load(tmp_path, device="cpu")


def test_a_calibrated_answer_weighs_each_reply_against_a_picture_that_shows_nothing():
    class Chat:
        """Finds `happy` likely whatever it sees, and one more reply a little likelier for a bright face."""

        parameters = 0

        def loglikelihood(self, faces, question, replies):
            rows = np.zeros((len(faces), 7))
            rows[:, LABELS.index("happy")] = 3
            rows[[i for i, f in enumerate(faces) if f.mean() > 200], LABELS.index("sad")] = 1
            return rows

        def lengths(self, replies):
            return np.array([3 if r == "happy" else 1 for r in replies])

    bright = [np.full((4, 4, 3), 250, np.uint8)]
    question = Question("q", "{options}?")
    assert VlmClassifier(Chat(), question, "likelihood").predict(bright).answer.tolist() == [
        LABELS.index("happy")
    ]
    assert VlmClassifier(Chat(), question, "likelihood-calibrated").predict(bright).answer.tolist() == [
        LABELS.index("sad")
    ]
    normalized = VlmClassifier(Chat(), question, "likelihood-normalized").predict(bright).probabilities[0]
    assert normalized[LABELS.index("happy")] == pytest.approx(normalized[LABELS.index("sad")])


def test_cache_name_follows_the_signature_of_the_model():
    class New:
        def forward(self, input_ids, cache=None, **kwargs): ...

    class Old:
        def forward(self, input_ids, past_key_values=None, **kwargs): ...

    assert [cache_name(New()), cache_name(Old())] == ["cache", "past_key_values"]
