import json
from concurrent.futures import ThreadPoolExecutor

import hypothesis.strategies as st
import numpy as np
import pytest
from fakes import prediction_table
from hypothesis import given

from fer_models.cost.ratio import CostRatio
from fer_models.errors import BaselinesError
from fer_models.gate import baselines
from fer_models.scoring.metrics import measure
from fer_models.store.subject import Subject


def record(predictions, model="net", recorded=None):
    measured = measure(predictions.truth, predictions.answer, predictions.probabilities, resamples=100)
    subject, recorded = Subject("toy", "test", "raw", model), recorded or {"date": "2026-01-01"}
    return baselines.record_of(subject, "f" * 64, predictions, measured, recorded)


def random_predictions(n=21, seed=0):
    rng = np.random.default_rng(seed)
    return prediction_table(np.arange(n) % 7, rng.integers(-1, 7, n))


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(-1, 6)), min_size=1, max_size=50))
def test_a_record_decodes_to_every_prediction_and_each_probability_within_a_step(rows):
    predictions = prediction_table(np.array([r[0] for r in rows]), np.array([r[1] for r in rows]))
    new = record(predictions)
    assert new.decode_predictions().tolist() == predictions.answer.tolist()
    assert np.abs(new.decode_p_true() - predictions.p_true).max() <= 0.5 / 64 + 1e-12


def test_baselines_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "baselines.json"
    published = {"model": "CLIP", "source": "somewhere", "accuracy": 0.64}
    content = baselines.Baselines((record(random_predictions()),), (published,))
    content.write(path)
    assert baselines.read(path) == content
    assert content.find(Subject("toy", "test", "raw", "net")) == content.measured[0]
    assert content.find(Subject("toy", "test", "raw", "other")) is None


def test_recording_twice_writes_the_same_bytes_even_on_another_day(tmp_path):
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    baselines.Baselines().updated([record(random_predictions())]).write(one)
    baselines.read(one).updated([record(random_predictions(), recorded={"date": "2027-12-31"})]).write(two)
    assert one.read_bytes() == two.read_bytes()


RATIO = CostRatio((10.0, 10.2, 9.8), 32, "AMD EPYC, 2 cores", "cpu", "float32")


def with_ratio(ratio):
    return baselines.replace(record(random_predictions()), cost_ratio=ratio)


def test_a_record_keeps_its_cost_ratio_on_disk(tmp_path):
    path = tmp_path / "baselines.json"
    baselines.Baselines((with_ratio(RATIO),)).write(path)
    assert baselines.read(path).measured[0].cost_ratio == RATIO
    baselines.Baselines((with_ratio(None),)).write(path)
    assert "cost_ratio" not in path.read_text()


@pytest.mark.parametrize(
    ("new", "kept"),
    [
        (None, True),
        (baselines.replace(RATIO, values=(10.5, 10.6)), True),
        (baselines.replace(RATIO, values=(12.5, 12.6)), False),
        (baselines.replace(RATIO, machine="abacus"), False),
    ],
)
def test_a_new_cost_ratio_replaces_one_that_it_does_not_confirm(new, kept):
    updated = baselines.Baselines((with_ratio(RATIO),)).updated([with_ratio(new)])
    assert updated.measured[0].cost_ratio == (RATIO if kept else new)


def test_an_invalid_cost_ratio_is_refused_by_name(tmp_path):
    path = tmp_path / "baselines.json"
    baselines.Baselines((with_ratio(RATIO),)).write(path)
    data = json.loads(path.read_text())
    data["measured"][0]["cost_ratio"]["values"] = [0]
    path.write_text(json.dumps(data))
    with pytest.raises(BaselinesError, match="cost_ratio cannot be used: values must be positive"):
        baselines.read(path)


@pytest.mark.parametrize(("accuracy", "floor"), [(0.7, 0.65), (0.58, 0.53), (0.709, 0.65), (0.03, 0.0)])
def test_the_floor_is_five_points_under_the_accuracy_in_full_points(accuracy, floor):
    correct = round(1000 * accuracy)
    truth = np.arange(1000) % 7
    answers = np.where(np.arange(1000) < correct, truth, (truth + 1) % 7)
    assert record(prediction_table(truth, answers)).floor == floor


def test_a_floor_that_was_removed_by_hand_does_not_come_back():
    without = baselines.replace(record(random_predictions()), floor=None)
    (updated,) = baselines.Baselines((without,)).updated([record(random_predictions(seed=5))]).measured
    assert updated.floor is None


def test_a_floor_set_by_hand_survives_a_new_record_and_other_records_stay():
    by_hand = baselines.replace(record(random_predictions()), floor=0.123)
    other = record(random_predictions(), "other")
    updated = baselines.Baselines((by_hand, other)).updated([record(random_predictions(seed=5))])
    new = updated.find(by_hand.subject)
    assert new.floor == 0.123
    assert new.answers != by_hand.answers
    assert other in updated.measured


def test_no_file_means_no_baselines(tmp_path):
    assert baselines.read(tmp_path / "none.json") == baselines.Baselines()


def damaged(change):
    data = {"schema": 2, "measured": [baselines.asdict(record(random_predictions()))], "published": []}
    change(data)
    return json.dumps(data)


def set_first(**fields):
    return lambda data: data["measured"][0].update(fields)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema": 2, "measured": [],}', "line 1, column"),
        ("", "not JSON"),
        ("[]", "schema"),
        ('{"schema": 1, "measured": []}', "schema 1, and this version reads schema 2"),
        ('{"schema": 2, "mesured": []}', "Did you mean 'measured'"),
        ('{"schema": 2, "measured": {}}', "must be a list"),
        (damaged(set_first(acuracy=1)), "unknown field 'acuracy'"),
        (damaged(lambda d: d["measured"][0].pop("n")), "lacks the field 'n'"),
        (damaged(set_first(n="21")), "n must be int"),
        (damaged(set_first(answers="0")), "1 answers"),
        (damaged(set_first(answers="9" * 21)), "character without a meaning"),
        (damaged(set_first(unanswered=1_000_000)), "unanswered is 1000000, but 3 of the answers"),
        (damaged(set_first(unanswered=-1)), "unanswered is -1"),
        (damaged(set_first(floor=float("nan"))), "holds NaN"),
        (damaged(set_first(floor=-0.5)), "floor is -0.5"),
        (damaged(set_first(floor=65)), "floor is 65, not an accuracy"),
        ('{"schema": 2, "measured": [], "published": [], "measured": []}', "the key 'measured' 2 times"),
        (damaged(set_first(corruption="gausian-noise@4")), "gaussian-noise"),
        (damaged(set_first(corruption="blur")), "NAME@SEVERITY"),
        (damaged(set_first(model="\ud800")), "no valid JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"schema": ' + "1" * 5000 + "}", "an integer of 5,000 digits"),
        ('{"schema": 2e999}', "too large for a number"),
        (damaged(set_first(metrics={"accuracy": 0.5})), "macro_f1"),
        (damaged(set_first(metrics={"accuracy": None, "macro_f1": 1})), "not a finite number"),
        (damaged(lambda d: d["measured"].append(d["measured"][0])), "2 records"),
        (damaged(lambda d: d["published"].append({"model": "CLIP"})), "a model and a source"),
        ('{"schema": 2, "measured": [{"metrics": {"accuracy": NaN}}]}', "NaN, which is not JSON"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line_with_the_place(tmp_path, text, message):
    path = tmp_path / "baselines.json"
    path.write_text(text)
    with pytest.raises(BaselinesError, match=message) as caught:
        baselines.read(path)
    assert "baselines.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_baselines_of_this_project_are_valid_and_published_claims_are_separate(repository):
    committed = baselines.read(repository / "baselines.json")
    claims = {(p["model"], p["accuracy"]) for p in committed.published}
    assert ("EfficientNet-B0", 0.8644) in claims
    assert all(p.get("protocol") for p in committed.published)


def test_processes_that_record_at_once_lose_no_record(tmp_path):
    """Four at once on one file, each with another record; threads are enough, for the lock is on a file."""
    path = tmp_path / "baselines.json"
    records = [baselines.replace(record(random_predictions()), model=f"net{i}") for i in range(24)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda one: baselines.update(path, [one]), records))
    assert {r.model for r in baselines.read(path).measured} == {r.model for r in records}


def test_a_record_of_other_faces_takes_no_floor_and_no_robustness_of_the_old_ones():
    old = baselines.replace(
        record(random_predictions()),
        floor=0.9,
        metrics={"accuracy": 0.5, "corruptions: mean error": 0.1},
        face_counts={"corruptions: mean error": "x"},
    )
    new = baselines.replace(record(random_predictions(seed=1)), dataset_fingerprint="e" * 64, floor=0.1)
    (merged,) = baselines.Baselines((old,)).updated([new]).measured
    assert merged.floor == 0.1
    assert "corruptions: mean error" not in merged.metrics
    assert not merged.face_counts
    (without,) = baselines.Baselines((baselines.replace(old, floor=None),)).updated([new]).measured
    assert without.floor is None


def test_unresolved_merge_conflicts_are_named(tmp_path):
    path = tmp_path / "baselines.json"
    baselines.Baselines((record(random_predictions()),)).write(path)
    text = path.read_text().replace('  "measured"', '<<<<<<< HEAD\n=======\n>>>>>>> branch\n"measured"')
    path.write_text(text)
    with pytest.raises(BaselinesError, match="unresolved merge conflicts"):
        baselines.read(path)
