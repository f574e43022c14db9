"""How much worse does each model answer on bad pictures, and does restoration pay where pictures are bad?

Ten corruptions (noise, blur, low resolution, JPEG, darkness, contrast, mask, sunglasses) at five severities,
on `--corruption-limit N` faces. To look at one of them closely, on all faces and with the paired verdict:
`--corruption low-resolution@4`.
"""


def test_the_mean_corruption_error_has_not_risen(robustness):
    robustness.assert_no_regression("mean error")
