"""`foveal synth` runs a recipe and goes on; `foveal synth show` lays out what came of it on one page without scripts."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from foveal.cli import main
from foveal.synth.running import folders_of

RECIPE = '''
"""Two things that overlap, one line of text, a caption that would like to be HTML."""
from foveal.geometry import Box
from foveal.grounding import GroundedText, Note, tied
from foveal.synth import PUBLISHED, added, composed_by_template, deduped, scored_above


def seen(examples):
    for example in examples:
        things = [Note(tied("cup", Box(0.1, 0.1, 0.5, 0.5)), "object", score, {"model": "<b>eye</b>"}) for score in (0.9, 0.5)]
        words = [Note(tied("<script>alert(1)</script>", Box(0.5, 0.5, 0.9, 0.6)), "text", 0.99), Note(tied("faint", Box(0, 0, 1, 0.1)), "text", 0.2)]
        yield added(example, *things, *words, Note(GroundedText("a cup & a saucer"), "caption"))


PIPELINE = [("seen", seen), ("sure", scored_above(PUBLISHED)), ("single", deduped()), ("description", composed_by_template())]
'''


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe of four stages."""
    (tmp_path / "plain_recipe.py").write_text(RECIPE)
    for name in ("a", "b", "c"):
        Image.new("RGB", (80, 60), "white").save(tmp_path / f"{name}.png")
    return tmp_path / "plain_recipe.py"


class _Seen(HTMLParser):
    """The tags of a page, its links, and what has a name."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.names: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        self.links += [str(given["href"])] if tag == "a" else []
        self.names += [str(given["id"])] if "id" in given else []


def test_a_recipe_is_run_and_its_page_shows_all_notes(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = recipe.parent / "out"
    assert main(["synth", str(recipe), str(recipe.parent / "a.png"), str(recipe.parent / "b.png"), "--out", str(out), "--licence", "CC0"]) == 0
    assert "The descriptions are in" in capsys.readouterr().out
    named = {"images": [{"id": 1, "file_name": "a.png", "width": 64, "height": 48}], "categories": [], "annotations": []}
    (recipe.parent / "instances_val2017.json").write_text(json.dumps(named))
    for licence, terms in (([], "CC BY 4.0"), (["--licence", "my own"], "my own")):
        place = recipe.parent / f"of {terms}"
        assert main(["synth", str(recipe), str(recipe.parent / "instances_val2017.json"), "--out", str(place), *licence]) == 0
        capsys.readouterr()
        listed = json.loads(next(place.glob("images-*/00000.jsonl")).read_text().splitlines()[0])
        assert terms in listed["licence"] and ("COCO" in listed["licence"] or "Flickr" in listed["licence"]) == (not licence)
    assert main(["synth", "show", str(out)]) == 0
    page = (out / "show.html").read_text()
    seen = _Seen(page)
    assert (
        "script" not in seen.tags
        and "b" not in seen.tags
        and "default-src 'none'" in page
        and "http" not in re.sub(r'http-equiv|"data:[^"]*"', "", page)
    )
    assert seen.tags.count("section") == 2 and seen.tags.count("rect") == 8
    assert {link.removeprefix("#") for link in seen.links} <= set(seen.names) and len(set(seen.names)) == len(seen.names)
    assert "dropped: it is note 1 again, with the same words at an IoU of 1.00" in page and "its score 0.20 is not above 0.85" in page
    assert re.search(r'<p class="told"><a href="#p0-1"[^>]*>A cup</a> &amp; a saucer\. There is', page) and "&lt;script&gt;" in page and "CC0" in page


def test_what_cannot_be_worked_on_is_named_and_the_exit_code_says_so(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (recipe.parent / "bad.png").write_bytes(b"no")
    command = ["synth", str(recipe), str(recipe.parent), "--out", str(recipe.parent / "out"), "--shard", "2"]
    for first in (True, False):
        assert main(command) == 1
        said = capsys.readouterr()
        assert ("bad.png is not an image" in said.err) is first and "description: 3/3" in said.err
    assert main(["synth", "show", str(recipe.parent / "out"), "--save", str(recipe.parent / "page.html"), "--count", "1"]) == 0
    page = (recipe.parent / "page.html").read_text()
    assert "Left out" in page and page.count("<section>") == 1
    assert main([*command, "--limit", "1"]) == 0


def test_data_sets_are_taken_with_all_that_they_know(recipe: Path) -> None:
    lines = recipe.parent / "annotations.jsonl"
    lines.write_text(
        '{"image": "a.png", "width": 80, "height": 60, "regions": [{"box": [8, 6, 40, 30], "label": "saucer"}], "captions": ["my own"]}\n'
    )
    assert main(["synth", f"{recipe}:PIPELINE", str(lines), "--out", str(recipe.parent / "out")]) == 0
    text = next(iter(reversed(folders_of(recipe.parent / "out").values()))).shard(0).read_text()
    assert "My own. There is a saucer at the top left" in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere.py", "a.png", "--out", "x"], "there is no file nowhere.py"),
        (["{picture}", "a.png", "--out", "x"], "a.png is no file of Python"),
        (["{recipe}:STAGES", "a.png", "--out", "x"], "has no STAGES"),
        (["{recipe}", "nowhere.png", "--out", "x"], "there is no file or folder nowhere.png"),
        (["{recipe}", "{recipe}", "--out", "x", "--engine", "spark"], "there is no engine 'spark'"),
        (["{recipe}", "{picture}", "--out", "{picture}"], "is a file; a folder is wanted."),
        (["show", "nowhere"], "nowhere holds no run"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(arguments: list[str], sentence: str, recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["synth", *(one.format(recipe=recipe, picture=recipe.parent / "a.png") for one in arguments)]) == 2
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1
