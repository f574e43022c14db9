"""Metamorphic robustness: how many predictions change under perturbations that keep the emotion.

The mirror image, shifts of one or two pixels, small changes of brightness and contrast. hypothesis searches
the smallest of them that flips a confident prediction, and the page shows it. `--metamorphic-limit N` sets
the number of faces.
"""


def test_flip_rate_of_the_mirror_image(metamorphic):
    metamorphic.assert_no_regression("mirror")


def test_flip_rate_of_small_shifts(metamorphic):
    metamorphic.assert_no_regression("shift")


def test_flip_rate_of_small_intensity_changes(metamorphic):
    metamorphic.assert_no_regression("brightness")
    metamorphic.assert_no_regression("contrast")
