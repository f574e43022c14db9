"""How much do a model's answers hang on the words it is asked with? Only models that read are asked.

Everything here works on kept directions of the faces: no face is looked at for a prompt.
"""


def test_no_template_alone_falls(prompting):
    prompting.assert_no_regression("template")


def test_no_word_alone_falls(prompting):
    prompting.assert_no_regression("word")


def test_edits_that_should_not_matter_change_no_more_answers(prompting):
    """Case, punctuation, spaces, articles, and the order of the list."""
    prompting.assert_no_regression("flip rate")


def test_the_order_of_the_list_does_not_matter(prompting):
    changed = prompting.measured.invariances["order of the list"]
    assert changed == 0, (
        f"{changed:.1%} of the answers change when the same prompts are listed in another order"
    )


def test_the_worst_prompt_found_is_no_worse(prompting):
    """hypothesis looks for it; `--prompt-search-examples N` says how long. What breaks the model is shrunk to
    the smallest edit.
    """
    prompting.assert_no_regression("found")
