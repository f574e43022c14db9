"""Entry point of `python -m fer_models.cli`."""

import sys

from fer_models.cli import main

sys.exit(main())
