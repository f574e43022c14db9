"""`fer-models compare`: two runs, face by face."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fer_models.commands.common import VERDICT_CODE, Commands
from fer_models.errors import UsageError


def add(commands: Commands) -> None:
    """Its parser."""
    parser = commands.add_parser("compare", help="two runs, face by face: exit code 1 when the second fell")
    parser.add_argument("before", type=Path, help="a folder of stored answers (under .evals/store), or a baselines.json")
    parser.add_argument("after", type=Path, help="a folder of stored answers")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the comparison."""
    import json

    from fer_models.evaluation import gate
    from fer_models.report import verdicts

    comparison = _comparison(args.before, args.after)
    verdict = gate.judge([comparison])[0]
    if args.json:
        print(json.dumps({"subject": comparison.subject.as_json(), "verdict": verdict.status, "changes": verdict.changes_json()}, indent=1))
    else:
        print(f"{verdict.status}  {comparison.subject.id}")
        print(verdicts.table(verdict))
    return VERDICT_CODE if verdict.status == gate.FAIL else 0


def _comparison(before: Path, after: Path) -> Any:
    from fer_models.errors import FacesDifferError
    from fer_models.evaluation import baselines, gate, metrics
    from fer_models.evaluation.store import stored

    answers, subject = stored(after)
    measured = metrics.measure(answers.truth, answers.answer, answers.probabilities)
    if before.suffix == ".json":
        record = baselines.read(before).find(subject)
        if record is None:
            raise UsageError(f"{before} holds no record of {subject.id}.")
    else:
        earlier, _ = stored(before)
        if earlier.faces != answers.faces or earlier.truth.tolist() != answers.truth.tolist():
            raise FacesDifferError(
                f"{before} and {after} hold answers to different faces ({len(earlier)} and {len(answers)}): they cannot be compared."
            )
        record = baselines.make(subject, earlier.fingerprint, earlier, metrics.measure(earlier.truth, earlier.answer, earlier.probabilities), {})
    return gate.compare(subject, answers, measured, record, fingerprint=answers.fingerprint, total=len(answers))
