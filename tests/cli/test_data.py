"""`foveal data`: any data set is converted, validated, shown and counted; what is wrong with a record is said of it, and the rest is done."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from foveal.cli import main
from foveal.cli.sources import SOURCES, guess_source, open_source, source_named
from foveal.data.images import load_picture
from foveal.data.stored import StoredShards
from foveal.geometry import Box, Mask, Point
from foveal.grounding import Example, Note, Picture, read_examples, tied, write_examples

Run = Callable[..., tuple[int, str, list[str]]]

CAT = {"id": 5, "image_id": 1, "category_id": 3, "bbox": [8, 4, 32, 16], "iscrowd": 0}
COCO = {
    "images": [{"id": number, "file_name": f"{name}.png", "width": 80, "height": 40} for number, name in ((1, "a"), (2, "b"))],
    "annotations": [CAT, CAT | {"id": 6, "image_id": 2, "category_id": 4}],
    "categories": [{"id": 3, "name": "cat"}, {"id": 4, "name": "traffic_light"}],
}
OWN = """
from foveal.grounding import Example

def mine(path, *, name: str, count: int = 2, loud: bool = False, report=print):
    report("one is passed over")
    for number in range(count):
        yield Example(f"{name.upper() if loud else name}/{number}")

def odd(path):
    yield {"id": "1"}

nothing = 3
"""


@pytest.fixture
def run(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs `foveal data` where the pictures a.png and b.png (80 x 40), coco.json, own.py and examples.jsonl lie."""
    monkeypatch.chdir(tmp_path)
    for name, colour in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (80, 40), colour).save(f"{name}.png")
    Path("coco.json").write_text(json.dumps(COCO))
    Path("own.py").write_text(OWN)
    write_examples("examples.jsonl", [example(name, Box(0.1, 0.2, 0.3, 0.4)) for name in "ab"])

    def go(*arguments: str) -> tuple[int, str, list[str]]:
        code = main(["data", *arguments])
        out, err = capsys.readouterr()
        return code, out, err.splitlines()

    return go


def example(name: str, *regions: Any, size: tuple[int, int] = (80, 40)) -> Example:
    return Example(name, (Picture(*size, f"{name[0]}.png"),), notes=(Note(tied("cat", *regions), "object"),))


def add(line: Example | str, to: str = "examples.jsonl") -> None:
    """A line more in a file of examples."""
    text = line
    if isinstance(line, Example):
        write_examples("one.jsonl", [line])
        text = Path("one.jsonl").read_text().strip()
    with open(to, "a") as lines:
        lines.write(f"{text}\n")


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_takes_a_path_first_and_a_report(name: str) -> None:
    parameters = list(inspect.signature(source_named(name)).parameters.values())
    assert parameters[0].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD and "PathLike" in str(parameters[0].annotation)
    assert "report" in {parameter.name for parameter in parameters}


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("a.json", json.dumps(COCO), "coco"),
        ("a.json", json.dumps({"annotations": [CAT] * 4000} | COCO), "coco"),
        ("a.json", json.dumps({"categories": COCO["categories"] * 9000} | COCO), "coco"),
        ("a.json", json.dumps(COCO | {"annotations": [{"id": 1, "image_id": 1, "caption": "a cat"}]}), "coco-captions"),
        ("a.json", json.dumps(COCO | {"annotations": [CAT | {"caption": "a cat"}]}), "vg-dense"),
        ("a.json", '[{"id": "1", "image": "a.png", "conversations": []}]', "llava"),
        ("a.json", '[{"id": "1", "image": "a.png", "conversations": [], "box_x1y1x2y2": []}]', "ferret"),
        ("a.json", '[{"id": 1, "data": {"image": "a.png"}, "annotations": []}]', "label-studio"),
        ("a.jsonl", '{"id": "1", "turns": []}', "examples"),
        ("a.jsonl", '\nbroken\n[1]\n{"id": "1"}', "examples"),
        ("a.jsonl", '{"image": "a.png", "width": 8, "height": 4, "regions": []}', "marked"),
        ("annotations.jsonl", '{"image": "a.png"}', "marked"),
        ("a.jsonl", '{"dataset_id": "x", "image_id": "1", "caption": "", "timed_caption": [], "traces": []}', "narratives"),
        ("a.jsonl", '{"messages": [], "images": []}', "ms-swift"),
    ],
)
def test_what_a_file_is_is_seen_by_its_fields(tmp_path: Path, name: str, text: str, kind: str) -> None:
    (tmp_path / name).write_text(text)
    assert guess_source(str(tmp_path if name == "annotations.jsonl" else tmp_path / name)) == kind


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", "{"),
        ("a.json", '{"questions": []}'),
        ("a.json", "[1]"),
        ("a.jsonl", ""),
        ("a.jsonl", "[]"),
        ("a.jsonl", '{"a": 1}'),
        ("a.txt", ""),
    ],
)
def test_a_file_that_cannot_be_told_is_to_be_named(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=rf"what kind of data set .*{name} is cannot be told; name it with --as"):
        guess_source(str(tmp_path / name))


def test_coco_becomes_lines_that_are_valid(run: Run) -> None:
    assert run("convert", "coco.json", "--images", ".", "--out", "new/all.jsonl") == (
        0,
        "2 examples are in new/all.jsonl; 0 records were passed over.\n",
        [],
    )
    first, second = read_examples("new/all.jsonl")
    assert (first.notes[0].said, second.notes[0].said.text) == (tied("cat", Box(0.1, 0.1, 0.5, 0.5)), "traffic light")
    assert run("validate", "new/all.jsonl") == (0, "2 examples, 0 faults.\n", [])
    assert run("validate", "coco.json", "--images", ".")[:2] == (0, "2 examples, 0 faults.\n")
    assert sorted(path.name for path in Path("new").iterdir()) == ["all.jsonl"]


def test_shards_hold_the_pictures(run: Run) -> None:
    code, out, _ = run("convert", "coco.json", "--images", ".", "--out", "shards", "--limit", "1")
    assert (code, out) == (0, "1 examples are in shards; 0 records were passed over.\n")
    assert run("convert", "examples.jsonl", "coco.json", "--as", "examples", "--out", "shards")[0] == 2, "coco.json is no file of examples"
    assert run("convert", "coco.json", "--images", ".", "--out", "shards")[0] == 0
    Path("a.png").unlink()
    stored = StoredShards("shards")
    assert [one.id for one in (stored[0], stored[1])] == ["1", "2"]
    assert load_picture(stored[0].images[0]).getpixel((0, 0)) == (255, 0, 0)
    assert run("stats", "shards", "--json")[1].startswith('{"examples": 2, "pictures": 2')


def test_what_was_there_stays_where_the_source_is_wrong(run: Run) -> None:
    for out in ("all.jsonl", "shards"):
        assert run("convert", "coco.json", "--images", ".", "--out", out)[0] == 0
        before = {path: path.stat().st_mtime_ns for path in Path(".").rglob("*")}
        nothing = ("x", "--as", "own.py:mine", "--set", "name=x", "--set", "count=0")
        for source in (("none.json", "--as", "coco"), ("own.py", "--as", "coco"), nothing):
            assert run("convert", *source, "--out", out)[0] == 2
        assert {path: path.stat().st_mtime_ns for path in before} == before and not Path("all.jsonl.part").exists()


@pytest.mark.parametrize("out", ["all.jsonl", "shards"])
def test_a_record_that_cannot_be_used_is_said_and_the_rest_done(run: Run, out: str) -> None:
    Path("b.png").unlink()
    code, said, err = run("convert", "coco.json", "--images", ".", "--out", out)
    assert (code, said) == (1, f"1 examples are in {out}; 1 records were passed over.\n")
    assert len(err) == 1 and err[0].startswith("foveal: coco.json, images 1, is passed over: there is no file")
    Image.new("RGB", (80, 40)).save("b.png")
    Path("examples.jsonl").write_text("broken\n" + Path("examples.jsonl").read_text())
    code, said, err = run("convert", "examples.jsonl", "--out", out)
    assert (code, said) == (1, f"2 examples are in {out}; 1 records were passed over.\n")
    assert len(err) == 1 and err[0].startswith("foveal: examples.jsonl, line 1, is passed over: ")


def test_validate_names_every_fault(run: Run) -> None:
    Image.new("RGB", (40, 80)).save("c.png")
    add("broken")
    add('{"id": "9", "notes": 3}')
    for one in (
        example("a"),
        example("d"),
        example("c"),
        example("b2", Box(0.5, 0.1, 1.2, 0.4)),
        example("b3", Box(0.5, 0.1, 0.5, 0.4)),
        example("b4", Box(0.5, 0.4, 0.6, 0.1)),
        example("b5", Point(float("nan"), 0.5)),
        example("b6", Mask(8, 4, (32,))),
        example("b7", Point(1.0, 0.0)),
    ):
        add(one)
    code, out, err = run("validate", "examples.jsonl")
    assert (code, out) == (1, "11 examples, 10 faults.\n")
    wanted = [
        "line 3, is passed over: Expecting value",
        "line 4, is passed over: notes is 3; it wants a list",
        "example 'a': its id stands twice",
        "example 'd': There is no image file",
        "c.png has 40x80 pixels upright, not 80x40 as stated",
        "example 'b2': 'cat' has a region outside the image: [0.5, 0.1, 1.2, 0.4]",
        "example 'b3': 'cat' has a box without area",
        "example 'b4': 'cat' has a box without area, or turned inside out",
        "example 'b5': 'cat' has a region outside the image: [nan, 0.5, nan, 0.5]",
        "example 'b6': 'cat' has a mask that sets no pixel",
    ]
    assert len(err) == len(wanted) and all(line.startswith("foveal: ") and reason in line for line, reason in zip(err, wanted, strict=True)), err
    assert run("validate", "examples.jsonl", "--without-pictures")[1] == "11 examples, 8 faults.\n"


@pytest.mark.parametrize("model", ["ferret-v2-nano", "pixelllm-nano"])
def test_examples_are_shown_as_a_model_sees_them(run: Run, model: str) -> None:
    add(Example("in words alone"))
    code, out, err = run("show", "examples.jsonl", "--model", model, "--save", "sheet.png")
    assert (code, out) == (1, f"2 examples as {model} sees them are in sheet.png.\n")
    assert err == ["foveal: example 'in words alone' cannot be shown: it has no picture"]
    with Image.open("sheet.png") as drawn:
        assert drawn.width > 160 and len(drawn.convert("RGB").resize((32, 32)).getcolors(1024)) > 8
    assert run("show", "examples.jsonl", "--model", model, "--skip", "1", "--count", "1")[0] == 0 and Path("sheet.png").is_file()


def test_counts_are_right_and_plotted(run: Run) -> None:
    code, out, err = run("stats", "coco.json", "--images", ".", "--json", "--save", "plot.png")
    counts = json.loads(out)
    assert (code, err) == (0, ["The plot is plot.png."])
    assert {name: counts[name] for name in ("examples", "pictures", "notes", "turns", "passed_over")} == {
        "examples": 2,
        "pictures": 2,
        "notes": 2,
        "turns": 0,
        "passed_over": 0,
    }
    assert counts["names"] == {"cat": 1, "traffic light": 1} and counts["regions"] == {"box": 2} and counts["region_sides"]["50%"] == 0.4
    with Image.open("plot.png") as plot:
        assert plot.width > 1000
    code, out, _ = run("stats", "coco.json", "--limit", "1")
    assert code == 0 and "traffic" not in out and "notes by source" in out
    Image.new("RGB", (1234, 40)).save("wide.png")
    write_examples("wide.jsonl", [Example("w", (Picture(1234, 40, "wide.png"),))])
    assert "5% 1,234" in run("stats", "wide.jsonl")[1]


def test_an_official_file_brings_its_terms_and_is_counted(run: Run) -> None:
    Path("coco.json").rename("instances_val2017.json")
    code, out, err = run("convert", "instances_val2017.json", "--out", "all.jsonl")
    assert (code, err) == (0, ["By its name instances_val2017.json is of COCO 2017; its terms are written. --set licence=... gives others."])
    assert run("convert", "instances_val2017.json", "--set", "licence=mine", "--out", "mine.jsonl")[0] == 0
    (terms,), (mine,) = ({one.licence for one in read_examples(path)} for path in ("all.jsonl", "mine.jsonl"))
    assert terms.startswith("annotations: CC BY 4.0; pictures: ") and mine == "mine"
    narrative = {"dataset_id": "c", "image_id": "1", "annotator_id": 1, "caption": "A cat.", "timed_caption": [], "traces": []}
    narrative["timed_caption"] = [{"utterance": "A cat.", "start_time": 0.0, "end_time": 1.0}]
    narrative["traces"] = [[{"x": 0.2, "y": 0.2, "t": 0.1}, {"x": 0.4, "y": 0.4, "t": 0.9}]]
    Path("coco_val_localized_narratives.jsonl").write_text(json.dumps(narrative))
    assert run("convert", "coco_val_localized_narratives.jsonl", "--out", "told.jsonl")[::2] == (0, []), "whose licence is its own affair"
    code, out, err = run("validate", "instances_val2017.json")
    assert (code, out) == (1, "2 examples, 2 faults.\n")
    told = [f"foveal: instances_val2017.json gave 2 {one} were published in this file of COCO 2017" for one in ("examples; 5,000", "notes; 36,781")]
    assert err == told
    assert "36,781" in run("stats", "instances_val2017.json")[1]
    assert json.loads(run("stats", "instances_val2017.json", "--json")[1])["published"] == {"examples": 5000, "notes": 36781}


def test_a_source_of_ones_own_needs_no_registration(run: Run) -> None:
    settings = ["--set", "name=x", "--set", "loud=true", "--set", "count=3"]
    code, out, err = run("convert", "anything", "--as", "own.py:mine", *settings, "--out", "mine.jsonl")
    assert (code, err) == (1, ["foveal: one is passed over"]) and "3 examples" in out
    assert [one.id for one in read_examples("mine.jsonl")] == ["X/0", "X/1", "X/2"]
    named = open_source("foveal.data.sources.coco:coco_instances", ["coco.json"], {"masks": "false", "licence": "7"}, print)
    assert [one.licence for one in named] == ["7", "7"], "a setting whose default is a text stays one"


WRONG = [
    (("stats", "coco.json", "--as", "imagenet"), "there is no data set 'imagenet'; known are examples, shards, marked, coco"),
    (("stats", "coco.json", "--as", "none.py:mine"), "there is no file none.py"),
    (("stats", "coco.json", "--as", "own.py:yours"), "cannot be had: module 'own' has no attribute 'yours'"),
    (("stats", "coco.json", "--as", "no.such.module:mine"), "No module named"),
    (("stats", "coco.json", "--as", "own.py:nothing"), "is a int; a function that yields examples is wanted"),
    (("stats", "coco.json", "--as", "broken.py:mine"), "cannot be had: division by zero"),
    (("stats", "coco.json", "--as", "json.py:mine"), "json.py has the name of a module of Python"),
    (("stats", "coco.json", "--as", "own.py:odd"), "own.py:odd gave a dict; an Example is wanted"),
    (("stats", "coco.json", "--as", "own.py:mine"), "missing a required"),
    (("stats", "coco.json", "--as", "own.py:mine", "--set", "name=x", "--set", "count=two"), "--set count=two is not understood; a number is wanted"),
    (("stats", "coco.json", "--set", "split=val"), "coco takes no 'split'; it takes annotations, images, masks"),
    (("stats", "coco.json", "--set", "masks"), "--set masks has no =; NAME=VALUE is wanted"),
    (("stats", "coco.json", "--set", "masks=maybe"), "--set masks=maybe is not understood; true or false is wanted"),
    (("stats", "coco.json", "--images", "nowhere"), "there is no folder nowhere for the pictures (--images)"),
    (("stats", "coco.json", "b.json"), "coco takes annotations, images, masks, licence, report: too many positional arguments"),
    (("stats", "examples.jsonl", "--images", "."), "examples takes no 'images'"),
    (("stats", "none.json"), "there is no file or folder none.json"),
    (("stats", "none.jsonl"), "there is no file or folder none.jsonl"),
    (("stats", "none.json", "--as", "coco"), "there is no file none.json"),
    (("stats", "."), "what kind of data set . is cannot be told"),
    (("stats", "torn.json", "--as", "coco"), "torn.json is no whole JSON file"),
    (("stats", "examples.jsonl", "--as", "webdataset"), "no sample of examples.jsonl can be used"),
    (("stats", "coco.json", "--save", "plot.xyz"), "a plot ends with one of .png, .svg, .pdf, not as plot.xyz"),
    (("convert", "coco.json"), "Missing option '--out'"),
    (("convert", "coco.json", "--out", "other"), "other holds mine.txt; a folder of its own is wanted for shards"),
    (("convert", "coco.json", "--out", "own.py"), "--out own.py is a file"),
    (("convert", "coco.json", "--out", "folder.jsonl"), "--out folder.jsonl is a folder"),
    (("show", "examples.jsonl", "--skip", "9"), "there is no example to show in examples.jsonl"),
    (("show", "examples.jsonl", "--save", "sheet.xyz"), "--save sheet.xyz names no image format"),
    (("show", "examples.jsonl", "--model", "gpt-9"), "There is no model 'gpt-9'"),
    (("validate",), "Missing argument"),
    (("paint", "coco.json"), "No such command"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=[" ".join(arguments) for arguments, _ in WRONG])
def test_wrong_input_is_one_sentence_and_exit_2(run: Run, arguments: tuple[str, ...], words: str) -> None:
    Path("torn.json").write_text(json.dumps(COCO)[:-9])
    Path("broken.py").write_text("1 / 0")
    Path("json.py").write_text("mine = print")
    for folder in ("other", "folder.jsonl"):
        Path(folder).mkdir()
    Path("other/mine.txt").write_text("mine")
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert words in err[-1] and err[-1].startswith("foveal: ") and (len(err) == 1 or "webdataset" in arguments), err
    assert Path("other/mine.txt").read_text() == "mine" and len(list(Path("other").iterdir())) == 1


def test_what_is_read_is_not_written_over(run: Run) -> None:
    assert run("convert", "coco.json", "--images", ".", "--out", "shards")[0] == 0
    code, _, said = run("convert", "shards", "--out", "shards")
    assert code == 2 and "is what is read" in said[0]
    assert run("stats", "shards", "--json")[1].startswith('{"examples": 2')
