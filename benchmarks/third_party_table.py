"""Third-party models against ours, face by face, from recorded predictions.

    python benchmarks/third_party_table.py --data-root FOLDER [--split private_test]

It runs no model: predictions are those in `baselines.json` and `benchmarks/peers-baselines.json`. The faces
are needed for labels and leaks. A row compares one third-party model with each of ours by the exact McNemar
test (two-sided, Holm-adjusted over the table) and prints Markdown.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from statsmodels.stats.contingency_tables import mcnemar

from fer_models.config import EvalConfig
from fer_models.emotions import Emotion
from fer_models.gate import baselines
from fer_models.inference.dataset import EvalDataset
from fer_models.scoring import metrics
from fer_models.scoring.intervals import Measurement, wilson_interval
from fer_models.scoring.paired_tests import holm, paired_score_test

OURS = ("vgg19", "resnet50", "efficientnet_b0")
ROOT = Path(__file__).parents[1]
HEADER = (
    "model",
    "accuracy",
    "without leaks",
    "macro-F1",
    "recall of disgust",
    *(f"against `{n}`" for n in OURS),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-root", type=Path, required=True, metavar="FOLDER", help="FER-2013")
    parser.add_argument("--split", default="private_test", help="default: private_test")
    args = parser.parse_args()
    data = EvalDataset(EvalConfig(dataset="fer2013", data_root=args.data_root, split=args.split))
    ours = recorded(ROOT / "baselines.json", data)
    peers = recorded(ROOT / "benchmarks" / "peers-baselines.json", data)
    ranked = sorted(peers, key=lambda name: -float((peers[name] == data.labels).mean()))
    tests = {(p, o): compare(data.labels, ours[o], peers[p]) for p in ranked for o in OURS}
    adjusted = dict(zip(tests, holm([p for _, p in tests.values()]), strict=True))
    print(f"| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}")
    for name, answer in [(o, ours[o]) for o in OURS] + [(p, peers[p]) for p in ranked]:
        changes = [f"{tests[name, o][0]}, {p_text(adjusted[name, o])}" if name in peers else "" for o in OURS]
        print(f"| {' | '.join([f'`{name}`', *scores(data, answer), *changes])} |")


def recorded(path: Path, data: EvalDataset) -> dict[str, np.ndarray]:
    """The recorded predictions (n,) of each model without restoration, faces in canonical order."""
    fingerprint = data.full_split.fingerprint
    return {
        record.model: record.decode_predictions()
        for record in baselines.read(path).measured
        if record.dataset_fingerprint == fingerprint and record.restoration == "raw"
    }


def scores(data: EvalDataset, answer: np.ndarray) -> list[str]:
    """Accuracy, accuracy without leaked faces, macro-F1 and recall of disgust, with 95 % intervals."""
    correct, truth = answer == data.labels, data.labels
    leaked = np.array([face in (data.train_hashes or ()) for face in data.faces.hashes])
    f1 = metrics.measure(truth, answer, None).overall["macro_f1"]
    accuracy, without_leaks, recall = (
        wilson_interval(int(correct[rows].sum()), int(rows.sum()))
        for rows in (np.ones_like(leaked), ~leaked, truth == Emotion.DISGUST)
    )
    return [show(accuracy), show(without_leaks), show(f1), show(recall)]


def compare(truth: np.ndarray, ours: np.ndarray, peer: np.ndarray) -> tuple[str, float]:
    """The change of accuracy from ours to the third-party model, with its interval, and a two-sided p."""
    change = paired_score_test(truth, ours, peer, metrics.accuracy)
    negative = int(((ours == truth) & (peer != truth)).sum())
    positive = int(((ours != truth) & (peer == truth)).sum())
    p = float(mcnemar([[0, negative], [positive, 0]], exact=True).pvalue)
    return f"{change.change:+.3f} [{change.low:+.3f}, {change.high:+.3f}]", p


def p_text(p: float) -> str:
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"


def show(value: Measurement) -> str:
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"


if __name__ == "__main__":
    main()
