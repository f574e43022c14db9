"""`fer-models data check-claim`: checks whether a published accuracy is possible."""

from __future__ import annotations

import argparse

from fer_models.cli.common import VERDICT_CODE, Commands, add_command, format_option


def add(commands: Commands) -> None:
    """Add the parser of `check-claim`, below `data`."""
    parser = add_command(
        commands,
        "check-claim",
        "check whether an accuracy is possible on N faces; exit code 1 if it is not",
        ("fer-models data check-claim 86.44 --n 3589", "fer-models data check-claim 73.28 --n 7178"),
        argument_default=argparse.SUPPRESS,  # values that were given before the word `check-claim` stay
    )
    parser.add_argument(
        "claim", metavar="CLAIM", help="as published: 86.44, 86.44%% or 0.8644; the decimals count"
    )
    parser.add_argument("--n", type=int, required=True, metavar="N", help="the number of test faces")
    parser.add_argument("--split", metavar="NAME", help="the official split of FER-2013, if N is ambiguous")
    format_option(parser, default=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the check; 0 if the claim is possible, 1 if not."""
    import json

    from fer_models.studies import grim

    checked = grim.check(grim.parse(args.claim), args.n, args.split)
    print(
        json.dumps(checked.as_json(), indent=1)
        if args.format == "json"
        else "\n".join(grim.describe(checked))
    )
    return 0 if checked.possible else VERDICT_CODE
