"""Corruption robustness: how many predictions become wrong on corrupted faces, with and without restoration.

Ten corruptions (noise, blur, low resolution, JPEG, darkness, contrast, mask, sunglasses) at five severities,
on `--corruption-limit N` faces. `--corruption low-resolution@4` evaluates one of them on all faces, with the
paired verdict.
"""


def test_mean_corruption_error(robustness):
    robustness.assert_no_regression("mean error")
