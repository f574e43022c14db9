"""Faces of a run: what is cached about them belongs to the right faces."""

import numpy as np
import pytest
from fer2013_files import rows_of, write_folders

from fer_models.config import EvalConfig
from fer_models.inference.dataset import EvalDataset


def brightness_of_each_face(data):
    """The slice of brightness of each face, by the hash of its pixels."""
    (column,) = (column for column in data.slices.columns if column.name == "brightness")
    return dict(zip(data.faces.hashes, column.codes.tolist(), strict=True))


@pytest.mark.parametrize("first", ["folders", "fer2013"])
def test_two_readers_of_the_same_files_in_another_order_do_not_share_a_cache(tmp_path, first):
    rows = rows_of([(i % 7, "public_test" if i % 2 else "private_test") for i in range(28)])
    for i, row in enumerate(rows):
        row.pixels[1:, 1:] = np.clip(row.pixels[1:, 1:] // 2 + 4 * i, 0, 255)
    root = tmp_path / "fer2013"
    root.mkdir()
    write_folders(root, rows)

    def evaluated(reader):
        dataset, data_root = {"folders": (str(root), None), "fer2013": ("fer2013", root)}[reader]
        store = tmp_path / "store"
        return EvalDataset(EvalConfig(dataset=dataset, data_root=data_root, split="test", store=store))

    second = {"folders": "fer2013", "fer2013": "folders"}[first]
    assert brightness_of_each_face(evaluated(first)) == brightness_of_each_face(evaluated(second))
