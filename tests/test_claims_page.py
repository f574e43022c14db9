"""`docs/claims.md`, which `benchmarks/claims_page.py` writes from the published claims in baselines.json."""

import importlib.util

import pytest

from fer_models.gate import baselines


@pytest.fixture
def claims_page(repository):
    spec = importlib.util.spec_from_file_location("claims_page", repository / "benchmarks" / "claims_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def claims(repository):
    return baselines.read(repository / "baselines.json").published


def test_the_page_shows_the_claims_in_the_baselines(claims_page, claims, repository):
    written = (repository / "docs" / "claims.md").read_text(encoding="utf-8")
    assert written == claims_page.page(claims), "Run: python benchmarks/claims_page.py"


def test_every_claim_has_a_source_and_a_protocol(claims):
    assert all(claim["source"] and claim["protocol"] for claim in claims)


def test_a_stated_count_gives_the_stated_accuracy(claims):
    counted = [claim for claim in claims if "correct" in claim]
    assert counted
    assert all(round(claim["correct"] / claim["n"], 4) == claim["accuracy"] for claim in counted)


@pytest.mark.parametrize(
    ("accuracy", "check"),
    [
        (0.9647, "possible only if cut off, not rounded, on 7,178 faces, impossible on 3,589"),
        (0.7979, "possible only if cut off, not rounded, on 3,589"),
        (0.7633, "impossible on 3,589"),
        (0.7597, "impossible on 3,589"),
        (0.7612, "possible on 3,589"),
    ],
)
def test_claims_without_a_stated_size_are_checked_for_the_official_sizes(
    claims_page, claims, accuracy, check
):
    (claim,) = (claim for claim in claims if claim["accuracy"] == accuracy)
    (line,) = (line for line in claims_page.page(claims).splitlines() if f"| {claim['model']} |" in line)
    assert check in line
