"""How much do a model's answers hang on how it is asked? Only models that are shown a face and asked a
question are asked.

`--question-limit N` says about how many faces; the ways to ask are the package's questions, and every place
for every emotion in their lists.
"""


def test_no_question_falls(questioning):
    questioning.assert_no_regression("question")


def test_another_order_of_the_list_changes_no_more_answers(questioning):
    questioning.assert_no_regression("order")


def test_answers_that_are_right_in_every_order_hold(questioning):
    """As CircularEval counts: an answer is known when no place in the list makes it wrong."""
    questioning.assert_no_regression("rotations")


def test_no_place_in_the_list_is_favoured_more(questioning):
    questioning.assert_no_regression("position bias")
