"""Engine parity: an exported model is no worse than the model that it was exported from, on the same faces.

For models with `same_as`: files of `fer-models export`, and records with `same_as=NAME`. The reference is
predicted too, also where `--model` does not name it.
"""

import pytest

pytestmark = pytest.mark.filterwarnings("ignore:Benchmark fixture was not used")


def test_export_is_not_worse_than_its_reference(parity):
    parity.assert_not_worse()


def test_export_agrees_with_its_reference(parity):
    """In float32 at least 99.9 % of the answers are equal; a quantized export is compared with its record."""
    parity.assert_agreement()


def test_parity_of_speed(parity_of_speed, benchmark):
    """Both are timed in turns, for the page; no verdict depends on it."""
    parity_of_speed(only_stored=benchmark.disabled)
