"""Question robustness of vision-language models: accuracy and flip rates with other questions.

`--question-limit N` sets the number of faces. The questions are those of this package, and rotations of their
option lists: each emotion stands once at each position.
"""


def test_worst_question(question_robustness):
    question_robustness.assert_no_regression("question")


def test_flip_rate_of_another_option_order(question_robustness):
    question_robustness.assert_no_regression("order")


def test_score_over_all_rotations_of_the_options(question_robustness):
    """CircularEval: a prediction counts as correct if it is correct in every rotation."""
    question_robustness.assert_no_regression("rotations")


def test_position_bias(question_robustness):
    question_robustness.assert_no_regression("position bias")
