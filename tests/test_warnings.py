"""Warning filters of pyproject.toml: only warnings of this project are errors."""

import warnings

import pytest


@pytest.mark.parametrize(
    "category", [DeprecationWarning, FutureWarning, PendingDeprecationWarning, UserWarning]
)
@pytest.mark.parametrize(
    "module",
    [
        "fer_models",
        "fer_models.images",
        "tests.test_images",
        "tests.classifiers.vlm.test_phi3v_network",
        "test_clip",
        "conftest",
    ],
)
def test_warning_of_this_project_is_an_error(module, category):
    with pytest.raises(category, match="old"):
        warnings.warn_explicit("old", category, f"{module}.py", 1, module=module)


def test_warning_is_attributed_to_this_module():
    with pytest.raises(UserWarning, match="here"):
        warnings.warn("here", UserWarning, stacklevel=1)


@pytest.mark.parametrize(
    "module", ["torch.nn.modules.module", "matplotlib.rcsetup", "transformers.utils.generic"]
)
def test_warning_of_a_dependency_is_no_error(module):
    with warnings.catch_warnings(record=True) as caught:
        warnings.warn_explicit("old", UserWarning, f"{module}.py", 1, module=module)
    assert [str(warning.message) for warning in caught] == ["old"]
