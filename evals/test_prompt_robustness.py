"""Prompt robustness of zero-shot models: accuracy and flip rates with other prompts.

All of it uses stored embeddings: no face is embedded again for another prompt.
"""


def test_worst_template(prompt_robustness):
    prompt_robustness.assert_no_regression("template")


def test_worst_word_for_each_emotion(prompt_robustness):
    prompt_robustness.assert_no_regression("word")


def test_flip_rate_of_edits_that_keep_the_meaning(prompt_robustness):
    """Case, punctuation, spaces, articles, and the order of the list."""
    prompt_robustness.assert_no_regression("flip rate")


def test_predictions_do_not_depend_on_the_order_of_the_prompts(prompt_robustness):
    flip_rate = prompt_robustness.measured.invariances["order of the list"]
    assert flip_rate == 0, (
        f"{flip_rate:.1%} of the predictions change when the same prompts are listed in another order"
    )


def test_worst_prompt_found(prompt_robustness):
    """Search with hypothesis, `--prompt-search-examples N` prompts, shrunk to the smallest edit."""
    prompt_robustness.assert_no_regression("found")
