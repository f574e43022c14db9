"""Whole runs with the Ray engine, and with a store in object storage: the same verdicts and no noise."""

import json

import pytest
from object_stores import ENVIRONMENT, s3_server

pytestmark = pytest.mark.slow


def judged(report):
    """What a run found, without its times and its command, which names the store."""
    other = ("inference_seconds", "from_store", "command")
    return [{name: value for name, value in one.items() if name not in other} for one in report["results"]]


def with_store(command, store):
    """A command of the bench with another store."""
    place = command.index("--store")
    return [*command[: place + 1], store, *command[place + 2 :]]


def run(bench, *arguments, store=None, code=0):
    command = bench.command(*arguments)
    if store is not None:
        command = with_store(command, store)
    return bench.run_python(["-m", "pytest", *command], code, **ENVIRONMENT)


def test_a_store_on_an_s3_server_gives_the_same_verdicts(bench):
    with s3_server() as address:
        run(bench, "--update-baselines")
        bench.write_model(turned=40)
        run(bench, code=1)
        local = bench.report()
        run(bench, store=address, code=1)
        remote = bench.report()
        assert judged(remote) == judged(local)
        assert remote["results"][0]["verdict"] == "FAIL"
        assert (bench.folder / ".evals" / "history.sqlite").exists()

        run(bench, "--cached-only", store=address, code=1)
        assert bench.report()["results"][0]["from_store"] is True
        output = bench.folder / "stored.json"
        command = ["report", "--store", address, "--baselines", bench.folder / "baselines.json"]
        command += ["--format", "json", "--output", output]
        bench.run_python(["-m", "fer_models.cli", *map(str, command)], 0, **ENVIRONMENT)
        (result,) = json.loads(output.read_text())["results"]
        assert (result["verdict"], result["n"]) == ("FAIL", 105)

        for sides in ((address, bench.folder / "store"), (bench.folder / "store", address)):
            command = ["compare", *map(str, sides), "--format", "json"]
            done = bench.run_python(["-m", "fer_models.cli", *command], 0, **ENVIRONMENT)
            assert [one["verdict"] for one in json.loads(done.stdout)["results"]] == ["PASS"]


def test_a_run_with_ray_gives_the_same_verdicts_without_noise(bench):
    pytest.importorskip("ray")
    run(bench, "--update-baselines")
    bench.write_model(turned=40)
    run(bench, code=1)
    local = bench.report()
    done = run(
        bench, "--engine", "ray", "--ray-actors", 1, store=str(bench.folder / "other" / "store"), code=1
    )
    assert judged(bench.report()) == judged(local)
    for noise in ("core_worker", "raylet", "Started a local Ray", "Usage stats", "DeprecationWarning"):
        assert noise not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--ray-actors", "2"), "--ray-actors is an option of --engine ray. Add --engine ray."),
        (("--engine", "ray", "--ray-actors", "0"), "--ray-actors must be at least 1, got 0."),
        (("--engine", "ray", "-n", "2"), "each process of -n would start a cluster of its own"),
        (("--store", "ftp://host/store"), "argument --store: 'ftp://host/store': stores with ftp:// are not"),
        (("--store", "s3:///store"), "names no bucket. Write s3://BUCKET/FOLDER."),
    ],
)
def test_options_that_cannot_work_are_refused_before_the_first_test(bench, arguments, message):
    if "-n" in arguments:
        pytest.importorskip("ray")
    command = bench.command()
    if "--store" in arguments:
        command, arguments = with_store(command, arguments[1]), ()
    done = bench.run_python(["-m", "pytest", *command, *arguments], 4)
    assert message in " ".join((done.stdout + done.stderr).split())


def test_a_missing_bucket_is_refused_before_the_first_test(bench):
    with s3_server() as address:
        done = run(bench, store=address.replace("//faces/", "//nothing/"), code=4)
    assert "there is no such bucket. Check its name, or create it." in done.stdout + done.stderr
