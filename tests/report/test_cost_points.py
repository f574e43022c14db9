"""Accuracy against speed."""

import pytest
from eval_reports import cost, report, result
from hypothesis import given
from hypothesis import strategies as st

from fer_models.report import pareto
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


def test_a_run_on_parts_of_a_split_has_the_points_of_the_largest_part():
    results = [result("a", 0.9, restoration="bicubic", n=49, id="part"), result("a", 0.6, n=100)]
    points = cost_points(report(results=results, costs=[cost(model="a", images_per_second=9.0)]))
    assert [point.result.n for point in points] == [100]


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


def timed(name, seconds, low, high, **more):
    """The cost of a model on one face, with the interval of its time."""
    interval = {"seconds_low": low, "seconds_high": high}
    return cost(model=name, batch=1, seconds=seconds, images_per_second=1 / seconds, **interval, **more)


@pytest.mark.parametrize(("slow_low", "is_certain"), [(0.3, True), (0.05, False)])
def test_a_dominated_model_is_certain_only_where_both_intervals_separate(slow_low, is_certain):
    results = [result("fast", 0.9), result("slow", 0.1)]
    costs = [timed("fast", 0.1, 0.09, 0.11), timed("slow", 0.4, slow_low, 0.5)]
    _, slow = cost_points(report(results=results, costs=costs))
    assert (slow.dominated_by, slow.is_certain) == ("fast-raw", is_certain)


def test_without_an_interval_of_the_time_nothing_is_certain():
    assert not points_of([("fast", 0.9, 100), ("slow", 0.1, 1)])["slow"].is_certain


def test_each_cost_is_per_face_and_a_report_without_it_has_no_point():
    entry = cost(seconds=2.0, images_per_second=4.0, relative=16.0, macs=7, parameters=5, peak_memory_mb=3.0)
    whole = report(results=[result()], costs=[entry])
    axes = {"seconds": 0.25, "relative": 2.0, "macs": 7, "parameters": 5, "memory": 3.0}
    assert {axis: cost_points(whole, axis)[0].cost.value for axis in axes} == axes
    old = report(results=[result()], costs=[cost(seconds=2.0, images_per_second=4.0)])
    assert cost_points(old, "relative") == []
    assert len(cost_points(old)) == 1


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=6).flatmap(
        lambda values: st.tuples(st.just(values), st.permutations(range(len(values))))
    )
)
def test_the_order_of_the_models_does_not_change_what_dominates_them(case):
    values, order = case
    models = [(f"m{i}", accuracy / 10, float(speed)) for i, (accuracy, speed) in enumerate(values)]
    dominated = [
        {name: (point.dominated_by, point.is_certain) for name, point in points_of(ordered).items()}
        for ordered in (models, [models[i] for i in order])
    ]
    assert dominated[0] == dominated[1]
    front = {name for name, (by, _) in dominated[0].items() if by is None}
    assert front


def test_names_are_escaped_in_markdown_and_terminal():
    points = cost_points(
        report(results=[result("<b>|x\x1b[31m")], costs=[timed("<b>|x\x1b[31m", 0.1, 0.1, 0.1)])
    )
    assert "`<b>¦x" in pareto.to_markdown(points, "seconds")  # a code span, and no end of the cell
    assert "\x1b" not in "".join(line.plain for line in pareto.to_text(points, "seconds").lines())
