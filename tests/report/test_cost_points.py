"""Accuracy against speed."""

from eval_reports import cost, report, result
from hypothesis import given
from hypothesis import strategies as st

from fer_models.report.cost_points import cost_points


def points_of(models):
    """The points of models, given as name, accuracy and images per second."""
    results = [result(name, accuracy) for name, accuracy, _ in models]
    costs = [cost(model=name, images_per_second=speed) for name, _, speed in models]
    return {point.result.subject.model: point for point in cost_points(report(results=results, costs=costs))}


def test_a_slower_and_less_accurate_model_is_dominated_and_a_trade_off_is_not():
    points = points_of([("best", 0.7, 100), ("slow", 0.6, 50), ("fast", 0.5, 900)])
    assert {name: point.dominated_by for name, point in points.items()} == {
        "best": None,
        "slow": "best-raw",
        "fast": None,
    }


def test_equal_models_do_not_dominate_each_other():
    points = points_of([("one", 0.7, 100), ("two", 0.7, 100)])
    assert [point.dominated_by for point in points.values()] == [None, None]


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=8))
def test_a_model_is_dominated_exactly_where_another_is_as_good_in_both_and_better_in_one(values):
    models = [(f"m{i}", accuracy / 10, float(speed)) for i, (accuracy, speed) in enumerate(values)]
    points = points_of(models)
    for name, accuracy, speed in models:
        better = any(a >= accuracy and s >= speed and (a, s) != (accuracy, speed) for _, a, s in models)
        assert (points[name].dominated_by is not None) == better


def test_a_model_with_a_prompt_has_the_speed_of_its_model_and_the_fastest_batch_counts():
    entry = result("clip", prompt="openai")
    costs = [cost(model="clip", images_per_second=speed) for speed in (20.0, 300.0, 90.0)]
    (point,) = cost_points(report(results=[entry], costs=costs))
    assert point.images_per_second == 300


def test_other_phases_and_untimed_models_give_no_point():
    costs = [cost("preprocessing", images_per_second=9.0), cost(model="other", images_per_second=9.0)]
    assert cost_points(report(results=[result()], costs=costs)) == []
