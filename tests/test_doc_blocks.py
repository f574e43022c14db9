"""Reading the code blocks of the documentation. `tests/documentation.py` runs them."""

from pathlib import Path

import pytest
from doc_blocks import NOTES, BlockError, check_data, missing_lines, read_blocks


def fenced(text, info="sh", below=""):
    return f"# Page\n\n```{info}\n{text}\n```\n\n{below}\n"


def only(markdown):
    (block,) = read_blocks("page.md", markdown)
    return block


def test_a_block_has_its_place_language_file_and_content():
    block = only(fenced("x = 1", 'python title="my model.py"'))
    assert (block.id, block.language, block.title, block.text) == (
        "page.md:3",
        "python",
        "my model.py",
        "x = 1\n",
    )
    assert block.note == ""


@pytest.mark.parametrize(
    "note",
    [
        "*Not run in CI: it downloads 5 GB.*",
        "*Run by `.ci/run`.*",
        "*Example: of a run\non another machine.*",
    ],
)
def test_a_note_below_leaves_out_a_block(note):
    assert only(fenced("ls", below=note)).note == note


@pytest.mark.parametrize(
    "paragraph", ["Not run in CI: it downloads 5 GB.", "For example *this*.", "*Run it.*"]
)
def test_another_paragraph_leaves_out_nothing(paragraph):
    assert only(fenced("ls", below=paragraph)).note == ""


@pytest.mark.parametrize(
    "paragraph",
    [
        "*Not run in CI.*",
        "*Not run in CI: no.*",
        "*Not run in CI: it downloads 5 GB.* And more.",
        "*Run by `.ci/run`.* It takes five minutes.",
        "*Example*",
    ],
)
def test_a_paragraph_that_only_begins_like_a_note_is_an_error(paragraph):
    with pytest.raises(BlockError, match=r"page\.md:3: .* begins like a note"):
        read_blocks("page.md", fenced("ls", below=paragraph))


ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "page", [Path("README.md"), *sorted(p.relative_to(ROOT) for p in ROOT.glob("docs/*.md"))]
)
def test_the_blocks_of_every_page_can_be_read(page):
    read_blocks(page.as_posix(), (ROOT / page).read_text(encoding="utf-8"))


def test_a_note_belongs_to_the_block_directly_above_it():
    two = fenced("ls") + "Text.\n\n*Not run in CI: it needs a server.*\n"
    assert only(two).note == ""


def test_blocks_in_lists_are_read():
    assert only("1. First:\n\n    ```sh\n    ls\n    ```\n").text == "ls\n"


@pytest.mark.parametrize("info", ["", "console", "toml"])
def test_an_unknown_language_is_an_error(info):
    with pytest.raises(BlockError, match=r"page\.md:3: .* is no language"):
        read_blocks("page.md", fenced("ls", info))


def test_an_indented_block_is_an_error():
    with pytest.raises(BlockError, match=r"page\.md:3: this block is indented"):
        read_blocks("page.md", "Text.\n\n    ls\n")


def test_output_without_a_command_needs_a_note():
    with pytest.raises(BlockError, match="no command precedes this output"):
        read_blocks("page.md", fenced("PASS", "text"))
    assert only(fenced("PASS", "text", NOTES[2].replace("REASON", "of a real run"))).note
    assert len(read_blocks("page.md", fenced("ls") + fenced("PASS", "text"))) == 2


@pytest.mark.parametrize(
    ("info", "text", "message"),
    [
        ("json", "{'a': 1}", "no json"),
        ("yaml", "a: [", "no yaml"),
        ("yaml", "- a", "no mapping"),
        ('yaml title=".github/workflows/a.yml"', "jobs: {}", "has the keys"),
        (
            'yaml title=".github/workflows/a.yml"',
            "on: push\npermissions: {}\njobs: {a: {runs-on: b, steps: [{name: c}]}}",
            "job a needs",
        ),
        ('yaml title=".gitlab-ci.yml"', "a: {image: b}", "no script"),
    ],
)
def test_data_must_be_complete(info, text, message):
    with pytest.raises(BlockError, match=message):
        check_data(only(fenced(text, info)))


def test_complete_data_passes():
    check_data(only(fenced('{"a": 1}', "json")))
    check_data(only(fenced("a: {script: [ls]}", 'yaml title=".gitlab-ci.yml"')))
    workflow = "on: push\npermissions: {}\njobs: {a: {runs-on: b, steps: [{run: ls}, {uses: c}]}}"
    check_data(only(fenced(workflow, 'yaml title=".github/workflows/a.yml"')))


def test_shown_output_may_differ_in_numbers_and_leave_out_lines():
    printed = "first\naccuracy  0.71 in 3 s\nlast"
    assert missing_lines("accuracy 0.92   in 14 s\n…\n", printed) == []
    assert missing_lines("recall 0.92 in 14 s", printed) == ["recall 0.92 in 14 s"]
