"""`fer-models calibrate`: fit the temperature of a model's probabilities to its stored predictions."""

from __future__ import annotations

import argparse

from fer_models.cli.common import Commands, add_command, console, fitting_options
from fer_models.cli.fuse import fit_exponents, print_next_step, require_new


def add(commands: Commands) -> None:
    """Add its parser."""
    help_text = "fit temperature scaling to a model's probabilities; the result is a model NAME+calibrated"
    example = "fer-models calibrate efficientnet_b0 --dataset fer2013 --data-root FOLDER"
    parser = add_command(commands, "calibrate", help_text, (example,))
    parser.add_argument("model", metavar="MODEL", help="a name from `fer-models list`, with +tta if wanted")
    fitting_options(parser, "temperature", store="folder of stored predictions")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Fit on the validation split, and print the scores there."""
    from fer_models.zoo import resolve
    from fer_models.zoo.derived_models import make_calibrated

    base = resolve.resolve_model(args.model, resolve.available_models(args.model_file)[0])
    name = make_calibrated(base).name
    require_new(f"{name}.json", args.output)
    (exponent,), path = fit_exponents(args, [base], name)
    console().print(f"temperature {1 / exponent:.3f}: {path}")
    print_next_step(args, name, path)
    return 0
