import json
from decimal import ROUND_DOWN, ROUND_HALF_DOWN, ROUND_HALF_UP, Decimal

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from fer_models import cli
from fer_models.errors import UnknownNameError, UsageError
from fer_models.gate import baselines
from fer_models.studies import grim
from fer_models.studies.grim import check, parse

places = st.integers(0, 5)


def rounded(k, n, decimals, way=ROUND_HALF_UP):
    """100k / n as published; quotients of such small numbers are exact enough in 28 digits."""
    return str((Decimal(100 * k) / n).quantize(Decimal(1).scaleb(-decimals), rounding=way)) + "%"


@settings(deadline=None)
@given(st.integers(1, 50_000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))), places)
def test_an_accuracy_measured_on_n_faces_is_possible_on_n_faces(measured, decimals):
    n, k = measured
    checked = check(parse(rounded(k, n, decimals)), n)
    assert checked.possible
    assert k in checked.k
    assert checked.nearest == ()


@settings(deadline=None)
@given(st.integers(1, 80), st.integers(0, 2), st.data())
def test_a_claim_is_possible_exactly_when_one_of_all_counts_rounds_to_it(n, decimals, data):
    claim = f"{Decimal(data.draw(st.integers(0, 100 * 10**decimals))).scaleb(-decimals):f}%"
    value = Decimal(claim[:-1])
    ways = (ROUND_HALF_UP, ROUND_HALF_DOWN)
    counts = [k for k in range(n + 1) if value in {Decimal(rounded(k, n, decimals, w)[:-1]) for w in ways}]
    checked = check(parse(claim), n)
    assert list(checked.k) == counts
    cut = [k for k in range(n + 1) if value == Decimal(rounded(k, n, decimals, ROUND_DOWN)[:-1])]
    assert list(checked.k_cut) == cut
    if not counts and not cut:
        (below, low), (above, high) = checked.nearest
        assert above == below + 1
        assert Decimal(low) < value < Decimal(high)
        assert 100 * Decimal(below) / n < value < 100 * Decimal(above) / n


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 1200))
def test_the_share_of_possible_claims_is_correct_by_counting(n):
    checks = [check(parse(f"{tenths / 10:.1f}%"), n) for tenths in range(1001)]
    n_possible = sum(bool(one.k) for one in checks)
    ties = sum(2000 * k % (2 * n) == n for k in range(n + 1))  # an exact half makes two claims possible
    if n <= 1000:
        assert checks[0].allowed == pytest.approx((n_possible - ties) / len(checks))
    assert checks[0].allowed_or_cut == pytest.approx(sum(one.possible for one in checks) / len(checks))


@pytest.mark.parametrize(
    ("text", "n", "k"),
    [("86.44", 3589, None), ("51.66", 3589, 1854), ("86.44", 7178, 6205), ("0.8644", 7178, 6205)],
)
def test_the_published_accuracies_are_checked(text, n, k):
    assert list(check(parse(text), n).k) == ([] if k is None else [k])


def test_an_impossible_claim_names_its_neighbours():
    assert check(parse("86.44"), 3589).nearest == ((3102, "86.43"), (3103, "86.46"))


@pytest.mark.parametrize(
    ("text", "percent"),
    [
        ("86.44", "86.44"), ("86.44%", "86.44"), (" 86.44 % ", "86.44"), ("0.8644", "86.44"), (".5", "50"),
        ("0.9", "90"), ("0.70", "70"), ("0.7080", "70.80"), ("1", "1"), ("1.0", "100"), ("0.5%", "0.5"),
        ("100", "100"), ("0", "0"), ("73.10", "73.10"), ("1.5", "1.5"),
    ],
)  # fmt: skip
def test_a_claim_is_parsed_as_it_is_published(text, percent):
    assert parse(text).percent == percent


@pytest.mark.parametrize(
    "text",
    [
        "",
        "%",
        "much",
        "-5",
        "100.01",
        "101",
        "86,44",
        "nan",
        "inf",
        "1e1",
        "86.",
        "1.2.3",
        "٨٦",
        "0.11111111111",
    ],
)
def test_an_invalid_accuracy_is_refused_with_an_example(text):
    with pytest.raises(UsageError, match=r"such as 86\.44"):
        parse(text)


@settings(deadline=None)
@given(st.text(max_size=12))
def test_any_text_is_a_claim_in_0_to_100_or_refused(text):
    try:
        claim = parse(text)
    except UsageError:
        return
    assert 0 <= claim.share <= 1


@pytest.mark.parametrize(
    ("text", "n", "plausibility"),
    [
        ("24.4", 3589, "under chance"),
        ("24.7", 7178, "under chance"),
        ("24.72", 7178, "between chance and the range of trained single networks"),
        ("65.69", 3589, "between chance and the range of trained single networks"),
        ("65.70", 3589, "in the range of trained single networks"),
        ("74.14", 7178, "in the range of trained single networks"),
        ("74.15", 3589, "between trained single networks and the best ensemble"),
        ("76.82", 3589, "between trained single networks and the best ensemble"),
        ("76.83", 3589, "above every result with a stated official split"),
        ("86.44", 1000, "above every result with a stated official split"),
    ],
)
def test_a_claim_has_a_plausibility(text, n, plausibility):
    assert check(parse(text), n).plausibility == plausibility


def test_chance_is_that_of_the_split_which_has_so_many_faces():
    def chance(*arguments):
        return check(parse("50"), *arguments).as_json()["chance"]

    assert chance(3589) == {"private_test": 24.49, "public_test": 24.94}
    assert chance(3589, "public_test") == {"public_test": 24.94}
    assert chance(7178) == {"test": 24.71}
    assert set(chance(1000)) == {"private_test", "public_test", "test"}


def test_a_split_that_does_not_exist_or_has_another_size_is_refused():
    with pytest.raises(UnknownNameError, match="Did you mean 'public_test'"):
        check(parse("50"), 3589, "publictest")
    with pytest.raises(UsageError, match="has 7178 faces, not 3589"):
        check(parse("50"), 3589, "test")


# The command.


@pytest.fixture
def command(capsys):
    """Run `check-claim`: exit code, standard output and standard error."""

    def run(*arguments):
        code = cli.main(["data", "check-claim", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_the_exit_code_is_0_for_a_possible_claim_and_1_for_an_impossible_one(command):
    assert command("86.44", "--n", "3589")[0] == 1
    assert command("51.66", "--n", "3589")[0] == 0
    assert command("86.44", "--n", "7178")[0] == 0


def test_the_output_is_a_few_lines(command):
    _, output, _ = command("86.44", "--n", "3589")
    assert 3 <= len(output.splitlines()) <= 5
    assert "impossible on 3,589 faces" in output
    assert "3,102 correct, 86.43 %, and 3,103 correct, 86.46 %" in output
    assert "35.9 % if rounded, 53.8 % if rounded or cut off" in output
    assert "above every result with a stated official split" in output
    assert "24.49 % on private_test, 24.94 % on public_test" in output


def test_where_faces_allow_every_claim_a_possible_one_proves_nothing(command):
    assert "a possible one proves nothing" in command("86", "--n", "3589")[1]


def test_where_faces_allow_every_claim_that_is_cut_off_a_rounded_one_still_proves_something(command):
    assert "one that is possible only if cut off proves nothing" in command("86.44", "--n", "7178")[1]


def test_a_size_that_is_not_official_is_reported(command):
    assert "none of them has 1,000 faces" in command("50.0", "--n", "1000")[1]


def test_json_has_the_same_content(command):
    code, output, _ = command("86.44%", "--n", "7178", "--format", "json")
    result = json.loads(output)
    assert code == 0
    assert (result["claim"], result["possible"]) == (86.44, True)
    assert (result["k"], result["nearest"]) == ([6205, 6205], [])
    assert result["plausibility"] == "above every result with a stated official split"
    nearest = json.loads(command("0.8644", "--n", "3589", "--format", "json")[1])["nearest"]
    assert nearest[0] == {"k": 3102, "percent": 86.43}


@pytest.mark.parametrize(
    "arguments",
    [
        ("much", "--n", "10"),
        ("-3", "--n", "10"),
        ("101", "--n", "10"),
        ("50", "--n", "0"),
        ("50", "--n", "-1"),
    ],
)
def test_bad_input_is_a_usage_error(command, arguments):
    assert command(*arguments)[0] == 4


def test_the_command_is_part_of_data(capsys):
    assert cli.main(["data", "check-claim", "86.44", "--n", "3589"]) == 1
    assert cli.main(["data", "check-claim", "much", "--n", "3589"]) == 4
    with pytest.raises(SystemExit) as caught:
        cli.main(["data", "check-claim", "50"])
    assert caught.value.code == 4


# Published records.


def published(accuracy, n=None, dataset="fer2013"):
    record = {"model": "net", "dataset": dataset, "split": None, "n": n, "accuracy": accuracy}
    return {**record, "source": "somewhere", "protocol": "unknown"}


def test_a_published_record_without_a_size_is_checked_on_the_official_ones():
    record = grim.annotate(published(0.8644))
    assert {key: value for key, value in record.items() if key != "check"} == published(0.8644)
    assert "possible on 7,178 faces" in record["check"]
    assert "impossible on 3,589" in record["check"]
    assert record["check"].endswith("above every result with a stated official split.")
    both = "possible on 3,589 faces (one official test split, or a random tenth of all faces) and on 7,178"
    assert both in grim.annotate(published(0.5166))["check"]
    assert "impossible on 3,589 faces and on 7,178 faces" in grim.annotate(published(0.864412))["check"]


def test_a_published_record_with_a_size_is_checked_on_it():
    check = grim.annotate(published(0.7311, 3589))["check"]
    assert check == "Possible: 2,624 of 3,589 faces; in the range of trained single networks."
    assert grim.annotate(published(0.8644, 3589))["check"].startswith("Impossible on 3,589 faces")


def test_zeros_that_json_omits_are_restored():
    assert "Possible: 2,541 of 3,589" in grim.annotate(published(0.708, 3589))["check"]
    assert "Impossible" in grim.annotate(published(0.5, 3589))["check"]  # 50.00 %: half of an odd number


def test_only_fer2013_has_a_plausibility():
    assert grim.annotate(published(0.5, 10, dataset="rafdb"))["check"] == "Possible: 5 of 10 faces."
    without_size = grim.annotate(published(0.5, dataset="rafdb"))
    assert without_size["check"] == "No size is given, so it cannot be checked."


@pytest.mark.parametrize("accuracy", ["86.44", 86.44, -0.1, float("nan"), True, []])
def test_an_invalid_accuracy_cannot_be_checked(accuracy):
    assert "cannot be checked" in grim.annotate(published(accuracy))["check"]


@pytest.mark.parametrize("n", [0, -3, "3589", 0.5, True])
def test_an_invalid_size_cannot_be_checked(n):
    assert "cannot be checked" in grim.annotate(published(0.5, n))["check"]


def test_a_record_that_claims_no_accuracy_stays_as_it_is():
    assert grim.annotate({"model": "net", "source": "somewhere"}) == {"model": "net", "source": "somewhere"}


def test_every_published_record_of_this_project_is_possible(repository):
    for record in baselines.read(repository / "baselines.json").published:
        assert "ossible" in grim.annotate(record)["check"]
        assert record["n"] is None or grim.annotate(record)["check"].startswith("Possible")
