"""The leaderboard as matrices."""

from eval_reports import face_set, report, result

from fer_models.report.matrix import matrices


def matrix_of(*results, **sections):
    (matrix,) = matrices(report(results=list(results), **sections))
    return matrix


def test_models_are_ranked_without_restoration_and_raw_is_the_first_column():
    matrix = matrix_of(
        result("a", 0.6, id="1"), result("a", 0.9, id="2", restoration="bicubic"), result("b", 0.7, id="3")
    )
    assert list(matrix.restorations) == ["raw", "bicubic"]
    assert [row.name for row in matrix.rows] == ["b", "a"]
    assert set(matrix.rows[0].cells) == {"raw"}


def test_a_model_with_restorations_only_is_below_the_others():
    matrix = matrix_of(result("a", 0.2, id="1"), result("b", 0.9, id="2", restoration="gfpgan"))
    assert [row.name for row in matrix.rows] == ["a", "b"]


def test_two_prompt_sets_of_a_model_are_two_rows():
    matrix = matrix_of(result("clip", id="1", prompt="one"), result("clip", id="2", prompt="two"))
    assert {row.name for row in matrix.rows} == {"clip · one", "clip · two"}


def test_a_part_of_a_split_is_in_the_matrix_of_its_split_and_corrupted_faces_in_their_own():
    results = [
        result("a", id="1", corruption="blur@3"),
        result("a", id="2"),
        result("a", id="3", restoration="gfpgan", n=70),
    ]
    first, second = matrices(report(results=results))
    assert (first.title, second.title) == ("fer2013/private_test", "fer2013/private_test, blur@3")
    assert set(first.rows[0].cells) == {"raw", "gfpgan"}
    assert first.n == 3589


def test_only_metrics_that_a_cell_has_can_be_chosen():
    assert list(matrix_of(result()).metrics) == ["accuracy", "macro_f1"]


def test_degraded_is_among_the_verdicts_of_a_row_and_references_are_those_of_the_split():
    worse = {"before": 0.5, "now": 0.4, "change": -0.1, "low": -0.2, "high": -0.05, "p": 0.001, "found": True}
    score = {"value": 0.25, "low": 0.2, "high": 0.3}
    reference = {"name": "always happy", "n": 7, "accuracy": score}
    matrix = matrix_of(
        result(log_loss=worse), data={"fer2013/private_test": face_set(references=[reference])}
    )
    assert matrix.rows[0].verdicts == ["PASS", "DEGRADED"]
    assert [one.name for one in matrix.references] == ["always happy"]
