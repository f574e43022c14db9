"""`fer-models export`: write a model as an ONNX file that predicts without torch."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fer_models.cli.common import Commands, add_command, console, data_options, load_faces, model_file_option

if TYPE_CHECKING:
    from fer_models.datasets.base import FaceSet

#: The methods of `export.quantization`, which is not imported for a help text.
STATIC = "int8-static"
METHODS = ("int8-dynamic", STATIC, "fp16")
_BF16 = (
    "--quantize bf16: ONNX Runtime has no bfloat16 convolution for CPUs, so such a file could not be "
    f"evaluated. Choose one of {', '.join(METHODS)}."
)


#: Faces of a calibration.
_CALIBRATION = 256
_EXAMPLES = ("fer-models export vgg19", "fer-models export vgg19 --quantize int8-static --output exports")


def add(commands: Commands) -> None:
    """Add its parser."""
    parser = add_command(commands, "export", "write a model as an ONNX file (extra: export)", _EXAMPLES)
    model_help = "a CNN, a CLIP model or its linear probe: a name from `fer-models list`, NAME@FILE, …"
    parser.add_argument("model", metavar="MODEL", help=model_help)
    quantize_help = f"smaller numbers: {', '.join(METHODS)} (default: float32)"
    parser.add_argument("--quantize", choices=(*METHODS, "bf16"), metavar="METHOD", help=quantize_help)
    calibration_help = (
        f"calibrate {STATIC} on N faces of the train split, stratified (default: {_CALIBRATION})"
    )
    parser.add_argument("--calibration", type=int, metavar="N", help=calibration_help)
    output = Path("exports")
    output_help = "the folder of the file (default: exports)"
    parser.add_argument("--output", type=Path, default=output, metavar="FOLDER", help=output_help)
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    data_options(parser)
    model_file_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the file, and print its agreement with the model in torch."""
    from fer_models.artifacts.hashing import sha256_of
    from fer_models.errors import UsageError
    from fer_models.zoo import resolve

    if args.quantize == "bf16":
        raise UsageError(_BF16)
    if args.calibration is not None and args.quantize != STATIC:
        raise UsageError(f"--calibration is for --quantize {STATIC}. Leave it out, or quantize so.")
    has_data = args.dataset != "synthetic" or args.data_root or args.label_scheme or args.download
    if has_data and args.quantize != STATIC:
        raise UsageError(
            f"The options of a dataset are for --quantize {STATIC}, which is calibrated on faces. "
            "Leave them out, or quantize so."
        )
    _require_packages()
    spec = resolve.resolve_model(args.model, resolve.available_models(args.model_file)[0])
    from fer_models.export.export import export

    calibration = _calibration_faces(args) if args.quantize == STATIC else None
    done = export(spec, args.output, method=args.quantize, calibration=calibration, overwrite=args.overwrite)
    agreement, screen = done.agreement, console()
    lines = [
        f"{done.path}: {done.path.stat().st_size / 1e6:.1f} MB, sha256 {sha256_of(done.path)}",
        f"Compared with {spec.name} in torch on {agreement.n} synthetic faces: "
        f"{agreement.n - len(agreement.differing)} equal predictions, "
        f"largest difference of a probability {agreement.largest_difference:.2g}.",
    ]
    if calibration is not None:
        lines.append(f"Calibrated on {calibration.name}: {len(calibration)} faces.")
    lines += [done.note] if done.note else []
    lines.append(f"Evaluate it: pytest evals --model onnx:{done.path}")
    for line in lines:
        screen.print(line, markup=False)
    return 0


def _calibration_faces(args: argparse.Namespace) -> FaceSet:
    """Faces of the train split, never of a split that is evaluated.

    Raises:
        UsageError: there are none, or `--calibration` is no positive number.
    """
    from fer_models import datasets

    split = datasets.training_splits(args.dataset, args.data_root)[0]
    return load_faces(args, split).subsample(_CALIBRATION if args.calibration is None else args.calibration)


def _require_packages() -> None:
    """Check that the packages of the extra are installed.

    Raises:
        UsageError: one is missing.
    """
    from importlib.util import find_spec

    from fer_models.errors import UsageError

    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise UsageError(
            f'Export needs {" and ".join(missing)}. Install the extra: pip install "fer-models[export]"'
        )
