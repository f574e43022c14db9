"""The slices of a run's faces: from pixels, from the dataset, and from the user's file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from fer_models.config import EvalConfig
from fer_models.datasets.base import FaceSet
from fer_models.errors import DatasetError, UsageError, one_line
from fer_models.slices.columns import SliceColumn, SliceColumns, cross
from fer_models.slices.dataset_columns import dataset_columns
from fer_models.slices.metadata_file import read_metadata
from fer_models.slices.pixels import SYNTHETIC_CUTS, Cuts, PixelValues, cuts_of, pixel_columns, pixel_values


class CachedValues(Protocol):
    """A function that returns values, made by another function unless they are cached for the same files."""

    def __call__(self, name: str, make: Callable[[], dict[str, list[float]]]) -> dict[str, list[float]]:
        """Return the values of a name."""
        ...


def face_slices(
    options: EvalConfig, faces: FaceSet, load_train: Callable[[], FaceSet | None], cached: CachedValues
) -> SliceColumns:
    """Find the slices of `faces`, the full split.

    Columns with one slice only, such as the size of FER-2013's images, are left out.

    Args:
        options: the user's file, cuts and crossed columns.
        faces: the full split.
        load_train: loads the faces on which the cuts of pixel properties are fixed; None where there are
            none.
        cached: caches what is computed from pixels.

    Raises:
        UsageError: the file, a cut or a crossed column is wrong, or a name occurs twice.
    """
    values: PixelValues = cached("pixel-values", lambda: pixel_values(map(faces.face, range(len(faces)))))
    cuts, reference = _cuts(options, faces, values, load_train, cached)
    all_columns = pixel_columns(values, cuts, reference) + dataset_columns(faces)
    notes: tuple[str, ...] = ()
    if options.slices is not None:
        metadata = read_metadata(options.slices, faces, options.slice_cuts)
        all_columns, notes = [*all_columns, *metadata.columns], metadata.notes
    elif options.slice_cuts:
        raise UsageError("--slice-cuts cuts columns of a file. Give it too: --slices FILE.")
    names = [column.name for column in all_columns]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise UsageError(
            f"--slices: '{twice[0]}' is a property that every face has already. Rename the column."
        )
    if len(set(options.crossed_slices)) < len(options.crossed_slices):
        raise UsageError("--cross-slices has two columns twice. Write them once.")
    columns = [column for column in all_columns if _n_slices(column) > 1]
    crossed = [_cross(all_columns, pair) for pair in options.crossed_slices]
    return SliceColumns((*columns, *crossed), notes, options.min_slice)


def _cuts(
    options: EvalConfig,
    faces: FaceSet,
    values: PixelValues,
    load_train: Callable[[], FaceSet | None],
    cached: CachedValues,
) -> tuple[Cuts, str]:
    """The quartiles of pixel properties in `train`, else in `faces`, and the name of the reference."""
    if options.dataset == "synthetic":
        return dict(SYNTHETIC_CUTS), "the train split"

    def train_cuts() -> dict[str, list[float]]:
        train = load_train()
        if train is None:
            return {}
        measured = cuts_of(pixel_values(map(train.face, range(len(train)))))
        return {name: list(cuts) for name, cuts in measured.items()}

    try:
        cuts = cached("pixel-cuts", train_cuts)
    except DatasetError:  # `train` cannot be read, which the check for leaks reports
        cuts = {}
    if cuts:
        return {name: tuple(each) for name, each in cuts.items()}, "the train split"
    return cuts_of(values), f"{faces.name}, as there is no train split"


def _n_slices(column: SliceColumn) -> int:
    return len(set(column.codes[column.codes >= 0].tolist()))


def _cross(columns: Sequence[SliceColumn], pair: tuple[str, str]) -> SliceColumn:
    by_name = {column.name: column for column in columns}
    for name in pair:
        if name not in by_name:
            raise UsageError(
                f"--cross-slices: there is no column '{one_line(name, 60)}'. There are: {', '.join(by_name)}."
            )
    return cross(*(by_name[name] for name in pair))
