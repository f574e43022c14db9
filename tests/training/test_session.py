"""The training session, with a network of one weight and given validation scores."""

import json
from dataclasses import dataclass

import pytest
import torch
from fakes import toy_faces
from tiny_training import kill

from fer_models.training.schedule import build_adamw, warmup_cosine
from fer_models.training.session import KEEP_LAST, RunOptions, Session, TrainingData


@dataclass(frozen=True)
class Recipe:
    epochs: int = 4
    batch_size: int = 4
    lr: float = 0.5


class OneWeight(Session):
    packages = ("torch",)
    scores = (0.25, 0.75, 0.75, 0.5)

    def __init__(self, **options):
        data, cpu = TrainingData([toy_faces(14)], toy_faces(7, "test")), torch.device("cpu")
        super().__init__("one", Recipe(), data, RunOptions(**options), cpu)
        self.network = torch.nn.Linear(1, 1, bias=False)
        self.optimizer, self.warmup = build_adamw(self.network.parameters(), 0.5, 0.0, beta2=0.99), 2
        self.rates, self.preparations = [], 0

    def prepare(self):
        self.preparations += 1

    def size_at(self, epoch):
        return 48

    def batches(self, epoch):
        return [float(epoch)] * self.steps

    def train_batch(self, batch, step):
        self.rates.append(self.optimizer.param_groups[0]["lr"])
        return self.apply_gradients((self.network.weight.sum() - batch) ** 2, max_norm=1.0)

    def validate(self):
        return {self.criterion: self.scores[len(self.history)]}

    def save_weights(self, path):
        path.write_text(json.dumps(self.provenance()))

    def inputs(self):
        return {"scores": self.scores}


class LeastDistance(OneWeight):
    criterion = "validation_distance"
    minimize = True


class LastEpoch(OneWeight):
    keep = KEEP_LAST
    suffix = ".json"


@pytest.mark.parametrize(
    ("session_class", "epoch", "file"),
    [(OneWeight, 2, "one.safetensors"), (LeastDistance, 1, "one.safetensors"), (LastEpoch, 4, "one.json")],
)
def test_the_policy_decides_which_epoch_is_kept_and_the_suffix_where(tmp_path, session_class, epoch, file):
    result = session_class().run(tmp_path)
    assert result.best_epoch == epoch
    assert result.weights == tmp_path / file
    record = json.loads(result.weights.read_text())
    assert record["history"] == result.history[:epoch]
    assert record["scores"] == list(OneWeight.scores)
    assert [path.name for path in tmp_path.iterdir()] == [file]


def test_the_learning_rate_follows_one_schedule_also_after_a_kill(tmp_path):
    session = OneWeight()
    undisturbed = session.run(tmp_path / "undisturbed")
    assert session.rates == [0.5 * warmup_cosine(update, 12, 2) for update in range(12)]
    assert max(session.rates) == session.rates[1]
    assert session.rates[0] == 0.25
    kill(lambda report: OneWeight(report=report).run(tmp_path), "epoch 3", 2)
    resumed = OneWeight()
    assert [r["loss"] for r in resumed.run(tmp_path).history] == [r["loss"] for r in undisturbed.history]
    assert resumed.rates == session.rates[6:]
    assert resumed.preparations == 1


def test_a_finished_run_whose_checkpoint_is_left_prepares_nothing(tmp_path):
    session = OneWeight()
    result = session.run(tmp_path)
    session._save_checkpoint(tmp_path / "one.checkpoint.safetensors")
    resumed = OneWeight()
    assert resumed.run(tmp_path) == result
    assert resumed.preparations == 0
    assert not list(tmp_path.glob("*.checkpoint*"))


def test_without_resume_a_checkpoint_is_ignored(tmp_path):
    kill(lambda report: OneWeight(report=report).run(tmp_path), "epoch 3")
    session = OneWeight(resume=False)
    assert len(session.run(tmp_path).history) == 4
    assert len(session.rates) == 12
