"""`fer-models data check-claim`: can a published accuracy be true?"""

from __future__ import annotations

import argparse

from fer_models.cli.common import VERDICT_CODE, Commands


def add(commands: Commands) -> None:
    """Its parser."""
    parser = commands.add_parser(
        "check-claim",
        argument_default=argparse.SUPPRESS,  # what was said before the word stays
        help="whether an accuracy is possible on so many faces, and where it lies: exit code 1 if not",
    )
    parser.add_argument(
        "claim", metavar="CLAIM", help="as it was published: 86.44, 86.44%% or 0.8644; the decimals count"
    )
    parser.add_argument(
        "--n", type=int, required=True, metavar="N", help="how many faces it is said to stand on"
    )
    parser.add_argument(
        "--split", metavar="NAME", help="the official split of FER-2013, where N alone does not tell"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the check; 0 if the claim is possible, 1 if not."""
    import json

    from fer_models.studies import grim

    found = grim.check(grim.parse(args.claim), args.n, args.split)
    print(json.dumps(found.as_json(), indent=1) if args.json else "\n".join(grim.describe(found)))
    return 0 if found.possible else VERDICT_CODE
