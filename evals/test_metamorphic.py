"""Do small changes that leave an emotion what it is change a model's answers more than they did?

The mirror image, one or two pixels of shift, a little light, a little contrast. hypothesis looks for the
smallest of them that turns a sure answer, and the page shows it. `--metamorphic-limit N` says on how many
faces.
"""


def test_the_mirror_image_changes_no_more_answers(metamorphic):
    metamorphic.assert_no_regression("mirror")


def test_a_pixel_of_shift_changes_no_more_answers(metamorphic):
    metamorphic.assert_no_regression("shift")


def test_a_little_light_and_contrast_change_no_more_answers(metamorphic):
    metamorphic.assert_no_regression("brightness")
    metamorphic.assert_no_regression("contrast")
