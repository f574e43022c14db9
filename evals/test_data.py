"""Data quality: readable images, official counts, known leaks from `train`.

Duplicates, leaks and label noise are on the page; what must be true of every dataset is asserted.
"""


def test_every_face_is_readable(audit):
    unreadable = [
        f"{split['split']} {face['source']}: {face['message']}"
        for split in audit["splits"]
        for face in split["unreadable"]
    ]
    assert not unreadable, "\n".join(unreadable)


def test_every_face_has_at_least_32_pixels_per_side(audit):
    tiny = [f"{split['split']} {source}" for split in audit["splits"] for source in split["tiny"]]
    assert not tiny, f"{len(tiny)} faces have a side under 32 pixels: {', '.join(tiny[:10])}"


def test_counts_are_the_official_ones(audit):
    """An altered copy of FER-2013 needs another name: --dataset NAME --data-root FOLDER."""
    differing = [split for split in audit["splits"] if split["official_agrees"] is False]
    assert not differing, "\n".join(
        f"{split['split']}: {split['counts']}, officially {split['official']}" for split in differing
    )


def test_leaks_from_train_are_known(evaluation):
    """An existing train split is readable: each score has a second value without its faces."""
    error = evaluation.runner.data.leak_check_error
    assert not error, error
