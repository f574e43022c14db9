"""What processes of tests have imported when they start; `processes` imports it in a process of its own.

Most of the seconds that `pytest evals` takes for a few faces are imports, and the compilation of the page's
templates.
"""

import sys

import hypothesis  # noqa: F401
import joblib  # noqa: F401
import matplotlib.backends.backend_svg
import matplotlib.figure  # noqa: F401
import pyarrow.parquet  # noqa: F401
import pytest  # noqa: F401
import scipy.stats  # noqa: F401
import sklearn.metrics  # noqa: F401
import statsmodels.stats.multitest  # noqa: F401

import fer_models.parametrized_fixtures
import fer_models.plugin.fixtures
import fer_models.plugin.session
import fer_models.plugin.terminal  # noqa: F401
from fer_models.report import templates

_environment = templates._environment()
for _name in _environment.list_templates():
    _environment.get_template(_name)

# pytest rewrites the assertions of plugins, and warns of those that are imported already.
for _name, _module in list(sys.modules.items()):
    if _name.partition(".")[0] in ("fer_models", "hypothesis", "_hypothesis_globals"):
        _module.__doc__ = f"{_module.__doc__ or ''} PYTEST_DONT_REWRITE"
