"""Model names: one grammar, parsed once into a value that prints back the same."""

import re
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_models.errors import UnknownNameError, UsageError
from fer_models.zoo.model_name import ModelName, Source
from fer_models.zoo.models import MODELS
from fer_models.zoo.resolve import resolve_model, selected_models
from fer_models.zoo.spec import Runtime

PIECES = st.text("abcXYZ019._-/", min_size=1, max_size=12)
NETWORKS = PIECES.filter(lambda text: not text.endswith((".py", "-probe")))
VARIANTS = st.one_of(
    st.sampled_from(["tta", "likelihood", "likelihood-normalized", "likelihood-calibrated"]),
    st.integers(1, 99).map(lambda n: f"{n}crops"),
)
NETWORK_FILES = [source for source in Source if source.is_network_file]
SOURCES = st.sampled_from([s for s in Source if s is not Source.PYTHON_FILE and s not in NETWORK_FILES])
CHECKPOINTS = st.text("abc019._-/:@+", max_size=12).filter(lambda text: not text.endswith(".py"))


def models_without_checkpoint():
    fields = {
        "network": NETWORKS,
        "source": SOURCES,
        "variants": st.lists(VARIANTS, max_size=3).map(tuple),
        "is_probe": st.booleans(),
    }
    return st.builds(ModelName, **fields)


def models_with_checkpoint():
    fields = {"source": SOURCES, "variants": st.lists(VARIANTS, max_size=3).map(tuple)}
    return st.builds(ModelName, PIECES, checkpoint=CHECKPOINTS, **fields)


def networks_in_files():
    paths = st.builds("{}{}".format, CHECKPOINTS, st.sampled_from([".onnx", "+tta.tflite", "@2.onnx", ""]))
    return st.builds(ModelName, source=st.sampled_from(NETWORK_FILES), checkpoint=paths)


def fusions():
    components = st.lists(models_without_checkpoint(), min_size=2, max_size=4).map(tuple)
    return st.builds(ModelName, components=components)


NAMES = st.one_of(
    models_without_checkpoint(),
    models_with_checkpoint(),
    fusions(),
    networks_in_files(),
    PIECES.map(lambda text: ModelName(f"{text}.py", Source.PYTHON_FILE)),
)


@given(NAMES)
def test_a_printed_name_parses_to_the_same_value(name):
    assert ModelName.parse(str(name)) == name


@given(
    st.one_of(
        st.text(),
        st.text(st.sampled_from("vgg19+@-:/.py")),
        st.lists(
            st.sampled_from(
                ["vgg19", "+tta", "-probe", "@", "timm:", "endpoint:", "onnx:", ".py", "+4crops", "+"]
            )
        ).map("".join),
    )
)
def test_a_parsed_text_prints_the_same(text):
    assert str(ModelName.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("vgg19", ModelName("vgg19")),
        ("clip-nano-probe", ModelName("clip-nano", is_probe=True)),
        ("clip-nano-probe+tta", ModelName("clip-nano", is_probe=True, variants=("tta",))),
        ("timm:resnet18@a/x.safetensors", ModelName("resnet18", Source.TIMM, "a/x.safetensors")),
        ("open_clip:ViT-B-32/openai", ModelName("ViT-B-32/openai", Source.OPEN_CLIP)),
        ("hf-hub:someone/model", ModelName("someone/model", Source.HF_HUB)),
        (
            "hf-vlm:mine+4crops+likelihood@folder",
            ModelName("mine", Source.HF_VLM, "folder", ("4crops", "likelihood")),
        ),
        (
            "endpoint:some/model@http://localhost:8000/v1",
            ModelName("some/model", Source.ENDPOINT, "http://localhost:8000/v1"),
        ),
        ("endpoint:a+b+tta@http://x", ModelName("a+b", Source.ENDPOINT, "http://x", ("tta",))),
        ("onnx:runs/vgg19+tta@3.onnx", ModelName(source=Source.ONNX, checkpoint="runs/vgg19+tta@3.onnx")),
        ("tflite:my.tflite", ModelName(source=Source.TFLITE, checkpoint="my.tflite")),
        ("folder/mine.py", ModelName("folder/mine.py", Source.PYTHON_FILE)),
        (
            "vgg19+tta+resnet50",
            ModelName(components=(ModelName("vgg19", variants=("tta",)), ModelName("resnet50"))),
        ),
    ],
)
def test_each_part_of_a_name_is_a_field(text, name):
    assert ModelName.parse(text) == name
    assert str(name) == text


def documented_names(repository):
    """What follows `--model` in the README, the docs and the tests, and every name of baselines.json."""
    files = [repository / "README.md", *repository.glob("docs/*.md"), *repository.glob("tests/**/*.py")]
    texts = [path.read_text(encoding="utf-8") for path in files]
    names = [name for text in texts for name in re.findall(r"--model[\" ,]+([\w.:/@+-]+)", text)]
    recorded = re.findall(r'"model": "([^"]+)"', (repository / "baselines.json").read_text(encoding="utf-8"))
    return {*names, *recorded}


def test_every_documented_name_and_every_name_of_the_zoo_prints_back_and_keeps_its_model():
    names = documented_names(Path(__file__).parents[2])
    assert {"vgg19+clip-nano", "phi-3.5-vision+4crops", "timm:resnet18@my.safetensors"} <= names
    for text in {*names, *MODELS.names}:
        assert str(ModelName.parse(text)) == text
    for text in MODELS.names:
        assert resolve_model(text, MODELS) is MODELS[text]


@pytest.mark.parametrize(
    "text",
    [
        *("vgg19", "resnet50", "efficientnet_b0", "clip-nano", "clip-nano-probe", "phi3v-nano"),
        *("mini-xception",),
        *("phi3v-nano+likelihood", "vgg19+clip-nano", "vgg19+tta", "vgg19+tta+resnet50"),
        *("phi-3.5-vision+4crops",),
        *("phi3v-nano+4crops+likelihood+tta", "open_clip:ViT-B-32-quickgelu/openai+tta", "hf-hub:a/b-probe"),
        "endpoint:m+tta@http://localhost:8000/v1",
    ],
)  # fmt: skip
def test_a_models_record_has_the_name_by_which_it_was_found(text):
    assert resolve_model(text, MODELS).name == text


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("vgg91", "vgg19"),
        ("VGG19", "vgg19"),
        ("vgg19+ta", "vgg19+tta"),
        ("vgg91+tta", "vgg19+tta"),
        ("vgg19+ta@my.safetensors", "vgg19+tta@my.safetensors"),
        ("phi3v-nano+liklihood", "phi3v-nano+likelihood"),
        ("phi3v-nano+4crop", "phi3v-nano+4crops"),
        ("vgg19+resnet05", "vgg19+resnet50"),
        ("vgg19+", "vgg19"),
        ("+vgg19", "vgg19"),
        ("clip-nano-prob", "clip-nano-probe"),
        ("clip-nano-probe-probe", "clip-nano-probe"),
        ("open_clp:ViT-B-32/openai", "open_clip:ViT-B-32/openai"),
        ("hf-vml:someone/model", "hf-vlm:someone/model"),
    ],
)
def test_a_near_miss_gets_a_suggestion(text, suggestion):
    with pytest.raises(UnknownNameError, match=re.escape(f"Did you mean '{suggestion}'?")):
        resolve_model(text, MODELS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("phi3v-nano+likelihood+likelihood-calibrated", "two answer modes: +likelihood and +likelihood-cal"),
        ("phi3v-nano+4crops+tta+16crops", "two numbers of crops: +4crops and +16crops"),
        ("vgg19+tta+tta", "+tta more than once"),
    ],
)
def test_variants_that_contradict_each_other_are_refused(text, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        resolve_model(text, MODELS)


# -- checkpoints of one name -------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Empty checkpoint files: run1/a/x, run1/b/x, run2/a/x and run1/a/y."""
    for name in ("run1/a/x", "run1/b/x", "run2/a/x", "run1/a/y"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.safetensors").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def selected_names(*names):
    return selected_models(list(names), [])[3].names


def test_a_checkpoint_is_named_by_its_file_alone_wherever_it_lies(folder):
    for path in ("run1/a/x.safetensors", folder / "run2" / "a" / "x.safetensors"):
        assert selected_names(f"timm:resnet18@{path}") == ["timm:resnet18@x"]
    names = ("timm:resnet18@run1/a/x.safetensors", "timm:resnet18@run1/a/y.safetensors")
    assert selected_names(*names) == ["timm:resnet18@x", "timm:resnet18@y"]
    assert selected_names(names[0], "vgg19@run1/b/x.safetensors") == ["timm:resnet18@x", "vgg19@x"]


def test_checkpoints_of_one_name_get_the_folders_that_tell_them_apart(folder):
    first, second, third = (f"timm:resnet18@{run}/x.safetensors" for run in ("run1/a", "run1/b", "run2/a"))
    short = {first: "timm:resnet18@a/x", second: "timm:resnet18@b/x"}
    long = {first: "timm:resnet18@run1/a/x", second: "timm:resnet18@b/x", third: "timm:resnet18@run2/a/x"}
    for names in permutations(short):
        assert selected_names(*names) == [short[name] for name in names]
    for names in permutations(long):
        assert selected_names(*names) == [long[name] for name in names]


def test_names_of_checkpoints_are_the_same_by_relative_and_absolute_paths(folder, monkeypatch):
    absolute = [f"vgg19@{folder / run / 'x.safetensors'}" for run in ("run1/a", "run1/b")]
    assert selected_names(*absolute) == ["vgg19@a/x", "vgg19@b/x"]
    monkeypatch.chdir(folder / "run1" / "b")
    assert selected_names("vgg19@../a/x.safetensors", "vgg19@x.safetensors") == ["vgg19@a/x", "vgg19@b/x"]


def test_a_variant_shows_the_same_folders_as_its_base(folder):
    names = ["vgg19@run1/a/x.safetensors", "vgg19+tta@run1/a/x.safetensors", "vgg19+tta@run1/b/x.safetensors"]
    assert selected_names(*names) == ["vgg19@a/x", "vgg19+tta@a/x", "vgg19+tta@b/x"]


def test_a_checkpoint_that_is_given_twice_is_one_model(folder):
    (folder / "link").symlink_to(folder / "run1" / "a")
    paths = ("run1/a/x.safetensors", "./run1/a/x.safetensors", "link/x.safetensors")
    assert selected_names(*(f"vgg19@{path}" for path in paths)) == ["vgg19@x"]


def test_two_files_that_differ_in_their_suffix_only_are_refused(folder):
    (folder / "run1" / "a" / "x.bin").write_bytes(b"")
    with pytest.raises(UsageError, match="differ only in the suffix"):
        selected_names("vgg19@run1/a/x.safetensors", "vgg19@run1/a/x.bin")


def test_two_checkpoints_of_one_name_are_two_subjects_with_two_identities(folder):
    (folder / "run1" / "b" / "x.safetensors").write_bytes(b"other")
    names = ["vgg19@run1/a/x.safetensors", "vgg19@run1/b/x.safetensors"]
    models = selected_models(names, [])[3]
    assert len({str(spec.identity(Runtime()) | {"model": None}) for spec in models}) == 2
