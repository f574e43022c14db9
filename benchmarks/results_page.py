"""Write `docs/results.md` from recorded predictions.

    python benchmarks/results_page.py                       # from baselines.json and benchmarks/results.json
    python benchmarks/results_page.py --data-root FOLDER    # compute benchmarks/results.json again first

It runs no model: predictions are those in `baselines.json` and `benchmarks/third-party-baselines.json`. They
contain no labels. What needs the labels of FER-2013 (macro-F1 with its interval, accuracy without leaked
faces, paired comparisons) is kept in `benchmarks/results.json`, with a hash of the predictions that it was
computed from.
"""

from __future__ import annotations

import argparse
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from statsmodels.stats.contingency_tables import mcnemar

from fer_models.config import EvalConfig
from fer_models.emotions import Emotion
from fer_models.gate import baselines
from fer_models.gate.baselines import BaselineRecord
from fer_models.inference.dataset import EvalDataset
from fer_models.scoring import metrics
from fer_models.scoring.annotators import majority_vote_row
from fer_models.scoring.intervals import Measurement, wilson_interval
from fer_models.scoring.paired_tests import holm, paired_score_test

ROOT = Path(__file__).parents[1]
OURS = ("vgg19", "resnet50", "efficientnet_b0")
SPLITS = ("private_test", "public_test")
Scores = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-root", type=Path, metavar="FOLDER", help="FER-2013")
    args = parser.parse_args()
    if args.data_root is not None:
        text = json.dumps(label_scores(args.data_root), indent=1, sort_keys=True) + "\n"
        (ROOT / "benchmarks" / "results.json").write_text(text, encoding="utf-8")
    (ROOT / "docs" / "results.md").write_text(page(), encoding="utf-8")


def records() -> list[BaselineRecord]:
    """The records of faces as they are: ours, and those of published packages."""
    ours = baselines.read(ROOT / "baselines.json").measured
    others = baselines.read(ROOT / "benchmarks" / "third-party-baselines.json").measured
    return [record for record in (*ours, *others) if record.corruption is None]


def key(record: BaselineRecord, split: str | None = None) -> str:
    """The name of a record in benchmarks/results.json, or of the same subject on another split."""
    prompt = "" if record.prompt is None else f" {record.prompt}"
    return f"{split or record.split} {record.model} {record.restoration}{prompt}"


def fingerprint(record: BaselineRecord) -> str:
    return sha256(record.answers.encode()).hexdigest()[:16]


# -- what needs the labels ----------------------------------------------------


def label_scores(data_root: Path) -> Scores:
    """The content of benchmarks/results.json."""
    result: Scores = {"scores": {}, "third_party": {}, "annotators": None}
    for split in SPLITS:
        data = EvalDataset(EvalConfig(dataset="fer2013", data_root=data_root, split=split))
        recorded = [r for r in records() if r.dataset_fingerprint == data.full_split.fingerprint]
        for record in recorded:
            answer = record.decode_predictions()
            result["scores"][key(record)] = scores(data, answer) | {"predictions": fingerprint(record)}
        if split == SPLITS[0]:
            answers = {r.model: r.decode_predictions() for r in recorded if r.restoration == "raw"}
            result["third_party"] = third_party(data.labels, answers)
            result["annotators"] = majority_vote_row(data.labels, data.faces.votes)["accuracy"]
    return result


def scores(data: EvalDataset, answer: np.ndarray) -> Scores:
    """Accuracy on faces that are not in `train`, macro-F1 and recall of disgust."""
    correct, truth = answer == data.labels, data.labels
    new = ~data.faces.hashes.is_in(data.train_hashes or ())
    values = {
        "without_leaks": wilson_interval(int(correct[new].sum()), int(new.sum())),
        "macro_f1": metrics.measure(truth, answer, None).overall["macro_f1"],
        "disgust": wilson_interval(
            int(correct[truth == Emotion.DISGUST].sum()), int((truth == Emotion.DISGUST).sum())
        ),
    }
    return {name: rounded(value.as_json()) for name, value in values.items()}


def third_party(truth: np.ndarray, answers: dict[str, np.ndarray]) -> Scores:
    """Change of accuracy from each of `OURS` to each published network, face by face."""
    others = [r.model for r in baselines.read(ROOT / "benchmarks" / "third-party-baselines.json").measured]
    pairs = [(other, ours) for other in dict.fromkeys(others) for ours in OURS]
    flips = [flipped(truth, answers[ours], answers[other]) for other, ours in pairs]
    p_values = holm([float(mcnemar([[0, n], [m, 0]], exact=True).pvalue) for n, m in flips])
    table: Scores = {}
    for (other, ours), (only_ours, only_other), p in zip(pairs, flips, p_values, strict=True):
        test = paired_score_test(truth, answers[ours], answers[other], metrics.accuracy)
        change = {"value": test.change, "low": test.low, "high": test.high, "p": float(p)}
        counts = {"only_ours": only_ours, "only_other": only_other}
        table.setdefault(other, {})[ours] = rounded(change) | counts
    return table


def flipped(truth: np.ndarray, ours: np.ndarray, other: np.ndarray) -> tuple[int, int]:
    """Number of faces that only ours predicts correctly, and that only the other does."""
    return int(((ours == truth) & (other != truth)).sum()), int(((ours != truth) & (other == truth)).sum())


def rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.6g}") for name, value in values.items()}


# -- the page -----------------------------------------------------------------


def page() -> str:
    """The text of docs/results.md.

    Raises:
        SystemExit: benchmarks/results.json was computed from other predictions.
    """
    stored = json.loads((ROOT / "benchmarks" / "results.json").read_text(encoding="utf-8"))
    by_key = {key(record): record for record in records()}
    for record in by_key.values():
        if record.dataset != "fer2013":
            continue
        if stored["scores"].get(key(record), {}).get("predictions") != fingerprint(record):
            raise SystemExit(
                f"benchmarks/results.json does not hold the recorded predictions of {key(record)}. "
                "Run: python benchmarks/results_page.py --data-root FOLDER"
            )
    names = {r.model for r in baselines.read(ROOT / "baselines.json").measured}
    subjects = [r for r in by_key.values() if r.split == SPLITS[0] and r.model in names]
    others = [r for r in by_key.values() if r.split == SPLITS[0] and r.model not in names]
    text = (ROOT / "benchmarks" / "results.md.txt").read_text(encoding="utf-8")
    tables = {
        "OURS": main_table(subjects, by_key, stored),
        "OTHERS": main_table([r for r in others if r.restoration == "raw"], by_key, stored),
        "PAIRED": paired_table([r for r in (*subjects, *others) if r.restoration == "raw"], stored),
        "ANNOTATORS": show(stored["annotators"]),
        **{f"FLIPS {n}": flips_text(stored["third_party"]["mini-xception"][n]) for n in OURS},
    }
    for name, table in tables.items():
        text = text.replace(f"<{name}>", table)
    return text


def main_table(rows: list[BaselineRecord], by_key: dict[str, BaselineRecord], stored: Scores) -> str:
    """Accuracy, accuracy without leaked faces and macro-F1 of each record, and its accuracy elsewhere."""
    header = ("model", "restoration", "`private_test` accuracy", "without leaks", "macro-F1")
    lines = [table_row((*header, "`public_test` accuracy", "synthetic faces")), "|---" * 7 + "|"]
    for record in sorted(rows, key=by_accuracy(rows)):
        computed = stored["scores"][key(record)]
        elsewhere = [by_key.get(key(record, split)) for split in ("public_test", "test")]
        cells = [f"`{record.model}`", record.restoration, accuracy(record)]
        cells += [show(computed["without_leaks"]), show(computed["macro_f1"])]
        lines.append(table_row([*cells, *("" if r is None else accuracy(r) for r in elsewhere)]))
    return "\n".join(lines)


def paired_table(rows: list[BaselineRecord], stored: Scores) -> str:
    """Recall of disgust, and the change of accuracy from ours to each published network."""
    header = ("model", "recall of disgust", *(f"against `{name}`" for name in OURS))
    lines = [table_row(header), "|---" * len(header) + "|"]
    for record in sorted(rows, key=by_accuracy(rows)):
        changes = stored["third_party"].get(record.model)
        if changes is None and record.model not in OURS:
            continue
        cells = ["" if changes is None else show_change(changes[name]) for name in OURS]
        disgust = show(stored["scores"][key(record)]["disgust"])
        lines.append(table_row((f"`{record.model}`", disgust, *cells)))
    return "\n".join(lines)


def by_accuracy(rows: list[BaselineRecord]) -> Any:
    """A sort key: models by their accuracy without restoration, restorations of one model together."""
    raw = {r.model: r.metrics["accuracy"] for r in rows if r.restoration == "raw"}
    first = {"raw": 0, "bicubic": 1}
    return lambda r: (-raw[r.model], r.model, first.get(r.restoration, 2), r.restoration)


def accuracy(record: BaselineRecord) -> str:
    """The recorded accuracy, with its Wilson interval."""
    value: Measurement = wilson_interval(round(record.metrics["accuracy"] * record.n), record.n)
    return show(value.as_json())


def show(value: dict[str, float]) -> str:
    return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def show_change(value: dict[str, float]) -> str:
    p = "p < 0.0001" if value["p"] < 1e-4 else f"p = {value['p']:.2g}"
    return f"{value['value']:+.3f} [{value['low']:+.3f}, {value['high']:+.3f}], {p}"


def flips_text(value: dict[str, int]) -> str:
    return f"{value['only_ours']} against {value['only_other']}"


def table_row(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
