from dataclasses import replace

import numpy as np
import pytest
import torch
from fakes import drawn
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_training import TINY, train

from fer_models.errors import UsageError
from fer_models.training.infobatch import InfoBatchSampler, cross_entropies
from fer_models.training.recipes import adapt

TARGETS = torch.eye(7)[torch.arange(140) % 7]


def sampler(share=0.5, epochs=10, learnt=70):
    """One that has seen every face, and finds the first `learnt` of them easy."""
    made = InfoBatchSampler(TARGETS, 0.1, epochs, share)
    losses = torch.where(torch.arange(len(TARGETS)) < learnt, 0.5, 3.0)
    made.learn(torch.arange(len(TARGETS)), losses)
    return made


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_without_a_share_every_epoch_sees_every_face_once():
    rows, counts = sampler(share=0.0).epoch(5, generator())
    assert sorted(rows.tolist()) == list(range(140))
    assert (counts == 1).all()


def test_an_epoch_sees_every_face_as_long_as_none_was_seen_and_at_the_end():
    fresh = InfoBatchSampler(TARGETS, 0.1, 10, 0.5)
    assert len(fresh.epoch(1, generator())[0]) == 140
    assert len(sampler().epoch(8, generator())[0]) < 140
    assert len(sampler().epoch(9, generator())[0]) == 140


def test_a_face_that_was_not_seen_yet_is_seen_and_keeps_no_other_one_in():
    """The last batch of an epoch is left out where it is not full."""
    made = sampler()
    made.losses[[0, 100]] = float("nan")
    rows, counts = made.epoch(2, generator())
    assert {0, 100} <= set(rows.tolist())
    assert counts[rows == 0] == 1
    assert len(rows) < 140


@given(st.floats(0.05, 0.9), st.integers(0, 1000))
@settings(deadline=None)
def test_only_learnt_faces_are_left_out_and_those_that_stay_count_for_them(share, seed):
    rows, counts = sampler(share).epoch(2, generator(seed))
    assert len(set(rows.tolist())) == len(rows)
    assert set(range(70, 140)) <= set(rows.tolist())
    np.testing.assert_allclose(counts[rows >= 70], 1.0)
    np.testing.assert_allclose(counts[rows < 70], 1 / (1 - share), rtol=1e-6)


def test_the_expected_gradient_is_that_of_all_faces():
    worth = torch.rand(140, generator=generator(1))
    sums = []
    for seed in range(3000):
        rows, counts = sampler().epoch(2, generator(seed))
        sums.append(float((worth[rows] * counts).sum()))
    assert np.mean(sums) == pytest.approx(float(worth.sum()), rel=0.01)


def test_a_face_is_as_learnt_as_its_target_allows():
    """An ambiguous face that is answered as ambiguously as it should be has nothing left to learn, though its
    cross-entropy is high.
    """
    torn = torch.tensor([[0.5, 0.5, 0, 0, 0, 0, 0], [1.0, 0, 0, 0, 0, 0, 0]])
    made = InfoBatchSampler(torn, 0.0, 10, 0.5)
    logits = torch.log(torn.clamp(min=1e-9))
    made.learn(torch.arange(2), cross_entropies(logits, torn, 0.0))
    np.testing.assert_allclose(made.losses, 0.0, atol=1e-5)


PRUNED = replace(TINY, infobatch_ratio=0.5, epochs=6)


def test_training_that_leaves_learnt_faces_out_sees_fewer_and_all_at_the_end(tmp_path):
    seen = [r["faces"] for r in train(tmp_path, PRUNED).history]
    assert seen[0] == seen[-1] == 56
    assert min(seen) < 56


def test_a_killed_run_that_leaves_faces_out_goes_on_with_the_same_loss_curve(tmp_path):
    def kill(title, step, of, figures):
        if title.startswith("epoch 4"):
            raise KeyboardInterrupt

    whole = train(tmp_path / "whole", PRUNED)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "killed", PRUNED, report=kill)
    resumed = train(tmp_path / "killed", PRUNED)
    assert [r["loss"] for r in resumed.history] == pytest.approx([r["loss"] for r in whole.history], rel=1e-6)
    assert [r["faces"] for r in resumed.history] == [r["faces"] for r in whole.history]
    assert len(drawn(42)) == 42


def test_a_share_that_cannot_be_is_refused():
    assert adapt(TINY, infobatch_ratio=0.5).infobatch_ratio == 0.5
    for share in (-0.1, 1.0, float("nan")):
        with pytest.raises(UsageError, match="--infobatch-ratio"):
            adapt(TINY, infobatch_ratio=share)
