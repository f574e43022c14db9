"""Depths: what a run evaluates, and how figures of different sizes are kept apart."""

from dataclasses import fields, replace

import numpy as np
import pytest

from fer_models.config import EvalConfig
from fer_models.depth import DEPTHS, FULL, QUICK, STANDARD
from fer_models.inference import dataset


def test_full_leaves_nothing_out_and_the_others_say_what():
    assert FULL.left_out() == []
    reduced = replace(FULL, variant_limit=49, metamorphic_limit=7)
    assert reduced.left_out() == [
        "restorations and +likelihood beyond 49 faces",
        "robustness checks beyond 7 (perturbations) faces",
    ]
    assert all(depth.left_out() for depth in (QUICK, STANDARD))
    assert "49 faces" in STANDARD.left_out()[0]
    assert "49 faces" not in STANDARD.left_out(whole_variants=True)[0]
    assert list(DEPTHS) == ["quick", "standard", "full"]


def test_no_depth_evaluates_more_than_full():
    for depth in (QUICK, STANDARD):
        for field in fields(depth):
            mine, whole = getattr(depth, field.name), getattr(FULL, field.name)
            if isinstance(whole, int) and not isinstance(whole, bool):
                assert mine <= whole, field.name


def test_a_figure_of_another_size_has_another_name():
    assert FULL.size_suffix("corruption_limit", "severities") == ""
    assert STANDARD.size_suffix("corruption_limit", "severities") == " (7 faces, severity 3)"
    assert replace(FULL, metamorphic_limit=9).size_suffix("metamorphic_limit") == " (9 faces)"
    assert replace(STANDARD, question_limit=FULL.question_limit).size_suffix("question_limit") == ""


@pytest.mark.parametrize(("limit", "few"), [(None, 49), (350, 49), (100, 30), (30, 100), (7, 3)])
def test_the_faces_of_a_subset_are_found_among_all(limit, few):
    whole = dataset.EvalDataset(EvalConfig(limit=limit))
    subset = whole.subsample(few)
    assert len(subset.faces) == min(few, len(whole.faces)) or few < 7
    assert [whole.faces.hashes[i] for i in whole.positions_of(subset)] == list(subset.faces.hashes)
    np.testing.assert_array_equal(whole.full_split.labels[subset.index], subset.faces.labels)
