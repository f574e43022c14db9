"""Can the faces be trusted? Copies, leaks and label noise are on the page whatever they are; what must hold
of any data set is asserted.
"""


def test_every_face_can_be_read(audit):
    broken = [
        f"{split['split']} {face['source']}: {face['message']}"
        for split in audit["splits"]
        for face in split["unreadable"]
    ]
    assert not broken, "\n".join(broken)


def test_every_face_is_large_enough_to_see(audit):
    tiny = [f"{split['split']} {source}" for split in audit["splits"] for source in split["tiny"]]
    assert not tiny, f"{len(tiny)} faces have a side under 32 pixels: {', '.join(tiny[:10])}"


def test_the_counts_are_the_official_ones(audit):
    """What calls itself fer2013 must be it. Give an altered copy a name of its own: --dataset NAME
    --data-root FOLDER.
    """
    deviating = [split for split in audit["splits"] if split["official_agrees"] is False]
    assert not deviating, "\n".join(
        f"{split['split']}: {split['counts']}, officially {split['official']}" for split in deviating
    )


def test_leaks_from_train_are_known(suite):
    """Every score stands beside the one without faces that are in train; that needs a train split that can be
    read, if there is one.
    """
    assert suite.data.train_hashes is not None or not suite.data.leak_check_error, suite.data.leak_check_error
