"""The judge of a family: one verdict per member, whatever is asked first and whatever arrives later."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_models.errors import PredictionError, UsageError
from fer_models.gate.judge import Judge

MEMBERS = st.lists(st.integers(0, 9), min_size=1, max_size=8)


def bonferroni(p_values):
    """FAIL where the p-value, times the number of comparisons of the family, is under 0.05."""
    return ["FAIL" if p * len(p_values) < 0.05 else "PASS" for p in p_values]


def compare(key):
    """Member `key` has `key % 3` comparisons with a p-value of its own; member 7 cannot be compared."""
    if key == 7:
        raise PredictionError("7 cannot be compared")
    return [0.004 * (key + 1)] * (key % 3)


def outcome(judge, key):
    try:
        return judge.verdicts(key)
    except (PredictionError, UsageError) as error:
        return str(error)


@given(MEMBERS, st.randoms(use_true_random=False), st.integers(0, 20))
def test_a_verdict_depends_on_the_family_alone(members, random, start):
    judges = [Judge(lambda keys: [k for k in keys if k != 8], compare, bonferroni) for _ in range(2)]
    family = list(dict.fromkeys(members))
    for judge, first in zip(judges, (0, start), strict=True):
        judge.select(members, first)
        assert judge.given() == {}
    order = random.sample(range(10), 10)  # members and others, in any order
    outcomes = {key: outcome(judges[0], key) for key in order}
    assert outcomes == {key: outcome(judges[1], key) for key in range(10)}
    assert outcomes == {key: outcome(judges[0], key) for key in range(10)}
    size = sum(key % 3 for key in family if key not in (7, 8))
    for key in family:
        if key not in (7, 8):
            expected = "FAIL" if 0.004 * (key + 1) * size < 0.05 else "PASS"
            assert outcomes[key] == [expected] * (key % 3)
    assert all(isinstance(outcomes[key], str) for key in range(10) if key not in family or key in (7, 8))


@given(MEMBERS, st.integers(0, 20))
def test_every_member_is_prepared_once_before_the_first_comparison(members, start):
    events = []

    def prepare(keys):
        events.extend(("prepare", key) for key in keys)
        return keys

    judge = Judge(prepare, lambda key: events.append(("compare", key)) or [], bonferroni)
    judge.select(members, start)
    judge.outcomes()
    judge.outcomes()
    family = list(dict.fromkeys(members))
    prepared = [key for event, key in events if event == "prepare"]
    assert events == [("prepare", key) for key in prepared] + [("compare", key) for key in family]
    assert prepared == family[start % len(family) :] + family[: start % len(family)]


def test_nothing_joins_a_judged_family():
    judge = Judge(lambda keys: keys, compare, bonferroni)
    judge.select([1])
    judge.verdicts(1)
    with pytest.raises(RuntimeError, match="judged already"):
        judge.select([1, 2])
    with pytest.raises(UsageError, match="2 has no verdict"):
        judge.verdicts(2)
