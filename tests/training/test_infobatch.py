from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_training import TINY, kill, train

from fer_models.errors import UsageError
from fer_models.training.infobatch import InfoBatchSampler, cross_entropies
from fer_models.training.recipes import adapt

TARGETS = torch.eye(7)[torch.arange(140) % 7]


def make_sampler(share=0.5, epochs=10, learned=70):
    """A sampler with a loss for every face; the losses of the first `learned` ones are small."""
    sampler = InfoBatchSampler(TARGETS, 0.1, epochs, share)
    losses = torch.where(torch.arange(len(TARGETS)) < learned, 0.5, 3.0)
    sampler.record_losses(torch.arange(len(TARGETS)), losses)
    return sampler


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_without_a_share_every_epoch_has_every_face_once():
    rows, weights = make_sampler(share=0.0).select_rows(5, generator())
    assert sorted(rows.tolist()) == list(range(140))
    assert (weights == 1).all()


def test_an_epoch_has_every_face_before_there_are_losses_and_at_the_end():
    new = InfoBatchSampler(TARGETS, 0.1, 10, 0.5)
    assert len(new.select_rows(1, generator())[0]) == 140
    assert len(make_sampler().select_rows(7, generator())[0]) < 140
    assert len(make_sampler().select_rows(8, generator())[0]) == 140


def test_a_face_without_a_loss_is_selected_and_does_not_change_the_selection_of_others():
    """The last batch of an epoch is left out where it is not full."""
    sampler = make_sampler()
    sampler.losses[[0, 100]] = float("nan")
    rows, weights = sampler.select_rows(2, generator())
    assert {0, 100} <= set(rows.tolist())
    assert weights[rows == 0] == 1
    assert len(rows) < 140


@given(st.floats(0.05, 0.9), st.integers(0, 1000))
@settings(deadline=None)
def test_only_learned_faces_are_left_out_and_the_others_of_them_have_larger_weights(share, seed):
    rows, weights = make_sampler(share).select_rows(2, generator(seed))
    assert len(set(rows.tolist())) == len(rows)
    assert set(range(70, 140)) <= set(rows.tolist())
    np.testing.assert_allclose(weights[rows >= 70], 1.0)
    np.testing.assert_allclose(weights[rows < 70], 1 / (1 - share), rtol=1e-6)


def test_the_expected_gradient_is_that_of_all_faces():
    gradients = torch.rand(140, generator=generator(1))
    sums = []
    for seed in range(3000):
        rows, weights = make_sampler().select_rows(2, generator(seed))
        sums.append(float((gradients[rows] * weights).sum()))
    assert np.mean(sums) == pytest.approx(float(gradients.sum()), rel=0.01)


def test_losses_are_measured_from_the_least_possible_one():
    """A prediction as ambiguous as its target has a large cross-entropy, and nothing left to learn."""
    ambiguous = torch.tensor([[0.5, 0.5, 0, 0, 0, 0, 0], [1.0, 0, 0, 0, 0, 0, 0]])
    sampler = InfoBatchSampler(ambiguous, 0.0, 10, 0.5)
    logits = torch.log(ambiguous.clamp(min=1e-9))
    sampler.record_losses(torch.arange(2), cross_entropies(logits, ambiguous, 0.0))
    np.testing.assert_allclose(sampler.losses, 0.0, atol=1e-5)


INFOBATCH = replace(TINY, infobatch_ratio=0.5, epochs=6)


@pytest.mark.slow
def test_training_with_infobatch_uses_fewer_faces_and_all_at_the_end(tmp_path):
    faces = [r["faces"] for r in train(tmp_path, INFOBATCH).history]
    assert faces[0] == faces[-1] == 56
    assert min(faces) < 56


@pytest.mark.slow
def test_a_killed_run_with_infobatch_resumes_with_the_same_loss_curve(tmp_path):
    undisturbed = train(tmp_path / "undisturbed", INFOBATCH)
    kill(lambda report: train(tmp_path / "killed", INFOBATCH, report=report), "epoch 4")
    resumed = train(tmp_path / "killed", INFOBATCH)
    expected = [r["loss"] for r in undisturbed.history]
    assert [r["loss"] for r in resumed.history] == pytest.approx(expected, rel=1e-6)
    assert [r["faces"] for r in resumed.history] == [r["faces"] for r in undisturbed.history]


def test_an_impossible_share_is_refused():
    assert adapt(TINY, infobatch_ratio=0.5).infobatch_ratio == 0.5
    for share in (-0.1, 1.0, float("nan")):
        with pytest.raises(UsageError, match="--infobatch-ratio"):
            adapt(TINY, infobatch_ratio=share)
