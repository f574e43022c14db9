"""The fenced code blocks of a Markdown page, and what must be done with each of them.

A block runs, unless the paragraph directly below it is one of `NOTES`. A block whose info string has a title
(```python title="my_models.py"`) is also written to that file, for the blocks after it.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import yaml
from markdown_it import MarkdownIt

RUNNABLE = ("sh", "python")
DATA = ("json", "yaml")
LANGUAGES = (*RUNNABLE, *DATA, "text")
#: The paragraphs that leave out a block.
NOTES = ("*Not run in CI: REASON.*", "*Run by `.ci/run`.*", "*Example: REASON.*")
_NOTE = re.compile(
    r"\*(Not run in CI: \S[^*]{10,}\.|Run by `\.ci/run`\.|Example: \S[^*]{10,}\.)\*", re.DOTALL
)
_NOTE_BEGINS = ("*Not run in CI", "*Run by", "*Example")
_NUMBER = re.compile(r"[-+]?\d[\d.,]*")


class BlockError(ValueError):
    """A block that cannot be checked as it is written."""


@dataclass(frozen=True)
class Block:
    """One fenced code block.

    Attributes:
        page: path of the page, relative to the repository.
        line: number of the line with the opening fence, from 1.
        language: one of `LANGUAGES`.
        title: the file that the block is the content of; empty without one.
        text: the content.
        note: the paragraph that leaves out the block; empty without one.
    """

    page: str
    line: int
    language: str
    title: str
    text: str
    note: str

    @property
    def id(self) -> str:
        """Where the block is: `docs/index.md:12`."""
        return f"{self.page}:{self.line}"


def read_blocks(page: str, markdown: str) -> list[Block]:
    """Read the blocks of a page.

    Raises:
        BlockError: an indented block, an unknown language, an output block that no block precedes, or a
            paragraph that begins like a note and is none.
    """
    tokens = MarkdownIt().parse(markdown)
    blocks: list[Block] = []
    for i, token in enumerate(tokens):
        line = token.map[0] + 1 if token.map else 0
        if token.type == "code_block":
            raise BlockError(f"{page}:{line}: this block is indented. Fence it with ``` and a language.")
        if token.type != "fence":
            continue
        language, *attributes = shlex.split(token.info) or [""]
        if language not in LANGUAGES:
            raise BlockError(
                f"{page}:{line}: '{language}' is no language of a block: {', '.join(LANGUAGES)}."
            )
        following = [t.content for t in tokens[i + 1 : i + 3] if t.type == "inline"]
        below = following[0] if following else ""
        note = below if _NOTE.fullmatch(below) else ""
        if not note and below.startswith(_NOTE_BEGINS):  # it would run, and perhaps for hours
            raise BlockError(
                f"{page}:{line}: the paragraph below this block begins like a note, and is not one of "
                f"{', '.join(NOTES)}. Write its other sentences into a paragraph of their own."
            )
        title = next((a.partition("=")[2] for a in attributes if a.startswith("title=")), "")
        if language == "text" and not note and (not blocks or blocks[-1].language not in RUNNABLE):
            raise BlockError(f"{page}:{line}: no command precedes this output. Write below it: {NOTES[2]}")
        blocks.append(Block(page, line, language, title, token.content, note))
    return blocks


def check_data(block: Block) -> None:
    """Parse a block of data; a workflow of GitHub and a configuration of GitLab must have their parts.

    Raises:
        BlockError: it cannot be parsed, or lacks a part.
    """
    try:
        data = json.loads(block.text) if block.language == "json" else yaml.safe_load(block.text)
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        raise BlockError(f"{block.id}: this is no {block.language}: {error}") from error
    if block.language == "yaml" and not isinstance(data, dict):
        raise BlockError(f"{block.id}: this is no mapping.")
    name = Path(block.title).name
    if ".github/workflows/" in block.title:
        _check_workflow(block, data)
    elif name == ".gitlab-ci.yml" and not all("script" in job for job in data.values()):
        raise BlockError(f"{block.id}: a job has no script.")


def _check_workflow(block: Block, workflow: dict) -> None:
    if not {True, "jobs", "permissions"} <= set(workflow):  # YAML 1.1 reads the key `on` as True
        raise BlockError(f"{block.id}: a workflow has the keys on, permissions and jobs.")
    for name, job in workflow["jobs"].items():
        if "runs-on" not in job or not all(("run" in s) != ("uses" in s) for s in job["steps"]):
            raise BlockError(f"{block.id}: job {name} needs runs-on, and each of its steps run or uses.")


def missing_lines(shown: str, output: str) -> list[str]:
    """The lines of `shown` that `output` lacks, numbers and blanks apart; `…` stands for any lines."""
    printed = {_pattern(line) for line in output.splitlines()}
    return [line for line in shown.splitlines() if line.strip(" …") and _pattern(line) not in printed]


def _pattern(line: str) -> str:
    return " ".join(_NUMBER.sub("#", line).split())
