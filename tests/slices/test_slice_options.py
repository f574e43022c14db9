"""Options on slices."""

import pytest

from fer_models.errors import UsageError
from fer_models.slices.slice_options import parse_cuts, parse_pair


def test_cuts_and_pairs_are_parsed():
    assert parse_cuts(["age=20,40.5", "a=b=1"]) == {"age": (20.0, 40.5), "a=b": (1.0,)}
    assert parse_pair(" brightness, sex ") == ("brightness", "sex")


@pytest.mark.parametrize("texts", [["age"], ["age="], ["=1"], ["age=x"], ["age=nan"], ["age=1", "age=2"]])
def test_wrong_cuts_are_refused(texts):
    with pytest.raises(UsageError, match="--slice-cuts"):
        parse_cuts(texts)


@pytest.mark.parametrize("text", ["", "a", "a,", "a,a", "a,b,c"])
def test_wrong_pairs_are_refused(text):
    with pytest.raises(UsageError, match="--cross-slices"):
        parse_pair(text)
