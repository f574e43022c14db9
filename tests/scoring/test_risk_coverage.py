"""Bootstrap of the area under the risk-coverage curve for many faces."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_models.scoring import risk_coverage
from fer_models.scoring.risk_coverage import Ranking, aurc, bootstrap_aurc


def ranking_of(n, seed, levels=50):
    """A ranking in which confident predictions are wrong less often, with groups of equal confidence."""
    rng = np.random.default_rng(seed)
    confidence = rng.integers(levels, size=n) / levels
    return Ranking.from_confidence(confidence, rng.random(n) > 0.5 + confidence / 2)


@given(n=st.integers(1, 200), part=st.integers(1, 200), levels=st.integers(1, 60), seed=st.integers(0, 99))
def test_a_thinned_ranking_keeps_faces_at_even_distances_and_their_groups(n, part, levels, seed):
    ranking, part = ranking_of(n, seed, levels), min(part, n)
    thinned, faces = ranking.thinned(part), np.arange(part) * n // part
    assert thinned.errors.tolist() == ranking.errors[faces].tolist()
    group = np.searchsorted(ranking.starts, faces, side="right")
    assert thinned.starts.tolist() == [i for i in range(part) if i == 0 or group[i] != group[i - 1]]


def test_the_areas_of_many_faces_vary_as_their_bootstrap_says(monkeypatch):
    rankings = [ranking_of(6000, 0), ranking_of(6000, 1)]
    drawn = bootstrap_aurc(rankings, 400, seed=0)
    monkeypatch.setattr(risk_coverage, "LARGEST_BOOTSTRAP", 2000)
    scaled = bootstrap_aurc(rankings, 400, seed=0)
    assert scaled.shape == drawn.shape
    assert scaled.std(axis=2) / drawn.std(axis=2) == pytest.approx(1, abs=0.2)
    for ranking, draws in zip(rankings, scaled, strict=True):
        for value, part in zip(aurc(ranking), draws, strict=True):
            assert abs(part.mean() - value) < part.std()
