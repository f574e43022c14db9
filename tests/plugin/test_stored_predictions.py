"""Whole runs: stored predictions are used again, shared by processes, and computed anew where damaged."""

import os
from dataclasses import replace

import pytest
from bench import FACES

from fer_models.gate import baselines
from fer_models.report.report_file import read_report
from fer_models.report.stored_report import stored_report


@pytest.mark.slow
def test_two_processes_give_the_same_results_ask_once_and_share_the_cores(bench, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    statement = "import os; print(len(faces), os.environ.get('OMP_NUM_THREADS'), file=file)"
    bench.write_model(body=f"with open({str(bench.folder / 'batches')!r}, 'a') as file: {statement}")
    bench.run("-n", 2, questions="accuracy or recall or macro or plausible")
    several = bench.report()["results"]
    batches = [line.split() for line in (bench.folder / "batches").read_text().splitlines()]
    assert (
        sum(int(n) for n, _ in batches) == FACES + 2 * 64
    )  # each process predicts the sample that shows a changed model
    assert {threads for _, threads in batches} == {str(max(1, os.cpu_count() // 2))}
    (bench.folder / "store").rename(bench.folder / "old")
    bench.run(questions="accuracy or recall or macro or plausible")
    alone = bench.report()["results"]
    for result in (*several, *alone):
        result.pop("inference_seconds")
    assert several == alone


@pytest.mark.slow
@pytest.mark.parametrize("processes", [(), ("-n", "2")], ids=["one process", "two processes"])
def test_a_damaged_shard_is_predicted_again_with_one_warning(bench, processes):
    bench.run(code=0)
    first = bench.report()["results"]
    shard = next((bench.folder / "store").rglob("*.parquet"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:100])
    done = bench.run(*processes, code=0)
    assert (
        done.stdout.count(
            f"{shard.name} is damaged: its bytes do not have the checksum in its name. "
            "Its content is computed anew."
        )
        == 1
    )
    assert shard.read_bytes() == whole
    assert [r["metrics"] for r in bench.report()["results"]] == [r["metrics"] for r in first]


def test_a_damaged_shard_is_named_where_nothing_may_be_predicted(bench):
    bench.run(code=0)
    shard = next((bench.folder / "store").rglob("*.parquet"))
    shard.write_bytes(b"")
    done = bench.run("--cached-only", code=0)
    assert "1 of 1 shards are not in the store, or damaged" in done.stdout
    assert shard.read_bytes() == b""


@pytest.mark.slow
def test_the_second_run_predicts_nothing_whatever_it_evaluates(bench):
    """Accuracy, controls, metamorphic and corruption robustness and costs: all stored, but for the sample
    that shows a changed model.
    """
    log = bench.folder / "predicted"
    bench.write_model(body=f"with open({str(log)!r}, 'a') as file: print(len(faces), file=file)")

    def evaluate(*arguments, questions="accuracy or controls or metamorphic or corruption or cost"):
        command = bench.command(*arguments)
        command[command.index("-k") + 1] = f"({questions}) and knowing and not bicubic and not gfpgan"
        bench.run_python(["-m", "pytest", *command], 0)

    evaluate()
    first, costs = bench.report(), bench.report()["costs"]
    assert len(log.read_text().splitlines()) > 20
    log.write_text("")
    evaluate()
    assert log.read_text() == "64\n"
    again = bench.report()
    assert again["metamorphic"] == first["metamorphic"]
    assert again["corruptions"] == first["corruptions"]
    assert {c["seconds"] for c in again["costs"]} == {c["seconds"] for c in costs}
    assert all("measured_on" in c for c in again["costs"])
    evaluate("--measure-costs", questions="cost and inference")
    assert log.read_text()


@pytest.mark.slow
def test_the_report_of_the_store_has_the_scores_and_verdicts_of_the_run(bench):
    bench.run("--update-baselines")
    bench.write_model(turned=40)
    bench.run(code=1)
    stored = stored_report(bench.folder / "store", baselines.read(bench.folder / "baselines.json"))
    run = read_report(bench.folder / "reports" / "evals.json")
    (ours,), (theirs,) = stored.results, run.results
    assert theirs.verdict == "FAIL"
    of_a_run = {
        name: getattr(theirs, name)
        for name in ("command", "notes", "from_store", "inference_seconds", "message")
    }
    without_pictures = tuple(replace(face, picture=None) for face in theirs.flips)
    assert theirs.slices
    assert theirs.message.splitlines()[:-1] == ours.message.splitlines()[:-1]  # the last names a command
    assert replace(ours, **of_a_run) == replace(theirs, flips=without_pictures, slices=())
