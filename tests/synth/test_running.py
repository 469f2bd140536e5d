"""A run can be ended anywhere and comes to the same; nothing is made twice, nothing is lost, and a bad picture hinders no other."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from foveal.geometry import Box
from foveal.grounding import Example, GroundedText, Note, tied
from foveal.synth import Step, added, composed_by_template, deduped, listed_images, pipeline_of, refused, run_pipeline, scored_above
from foveal.synth.running import folders_of, read_manifest
from foveal.synth.shards import Folder, read_shard, write_shard
from foveal.synth.stage import settings_of

_CALLS: list[str] = []


def name_it(examples: Iterable[Example], *, word: str = "cup") -> Iterator[Example]:
    """Two notes at one place, one of them surer."""
    for example in examples:
        _CALLS.append(example.id)
        yield added(example, *(Note(tied(word, Box(0.1, 0.1, 0.5, 0.5)), "object", score) for score in (0.6, 0.9)))


STEPS = pipeline_of([("things", name_it), ("single", deduped()), ("description", composed_by_template())])


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Seven pictures in two folders, two of which share a name."""
    folder = tmp_path / "pictures"
    for number in range(7):
        place = folder / ("a" if number < 4 else "b") / f"{number % 4}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8 + number, 6)).save(place)
    return folder


def _made(out: Path) -> dict[str, list[bytes]]:
    count = read_manifest(out)["shards"]
    return {name: [folder.shard(number).read_bytes() for number in range(count)] for name, folder in folders_of(out).items()}


def _last(out: Path) -> list[Example]:
    folder = list(folders_of(out).values())[-1]
    return [example for number in sorted(folder.records) for example in read_shard(folder.shard(number))[0]]


def test_every_picture_comes_through_in_order_with_what_each_stage_found(pictures: Path, tmp_path: Path) -> None:
    heard: list[tuple[str, int, int]] = []

    def hear(name: str, done: int, begun: int, total: int) -> None:
        heard.append((name, done, total))

    place = run_pipeline(STEPS, listed_images([pictures]), tmp_path / "out", shard=3, licence="CC0", heard=hear)
    examples = _last(tmp_path / "out")
    names = [Path(example.id).relative_to(pictures).as_posix() for example in examples]
    assert names == ["a/0.png", "a/1.png", "a/2.png", "a/3.png", "b/0.png", "b/1.png", "b/2.png"]
    assert [example.images[0].width for example in examples] == list(range(8, 15))
    for example in examples:
        assert [note.source for note in example.notes] == ["dropped object", "object", "description"] and example.licence == "CC0"
        assert example.turns[-1].said.text == "There is a cup at the top left."
    assert place == list(folders_of(tmp_path / "out").values())[-1].path and heard[-1] == ("description", 7, 7)


def test_a_finished_shard_is_never_made_again(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_pipeline(STEPS, listed_images([pictures]), out, shard=3)
    before, _ = _made(out), _CALLS.clear()
    run_pipeline(STEPS, listed_images([pictures]), out, shard=3)
    assert _CALLS == [] and _made(out) == before
    things = folders_of(out)["things"]
    things.shard(1).unlink()
    run_pipeline(STEPS, listed_images([pictures]), out, shard=3)
    assert len(_CALLS) == 3 and _made(out) == before


def test_only_what_follows_a_change_is_made_again(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_pipeline(STEPS, listed_images([pictures]), out, shard=3)
    _CALLS.clear()
    longer = [STEPS[0], Step("sure", scored_above({"object": 0.7})), *STEPS[1:]]
    run_pipeline(longer, listed_images([pictures]), out, shard=3)
    assert _CALLS == [] and "is not above" in _last(out)[0].notes[0].made_by["dropped"]
    run_pipeline([Step("things", partial(name_it, word="hat")), *STEPS[1:]], listed_images([pictures]), out, shard=3)
    assert len(_CALLS) == 7 and "hat" in _last(out)[0].notes[-1].said.text
    Image.new("RGB", (99, 6)).save(pictures / "b" / "1.png")
    _CALLS.clear()
    run_pipeline([Step("things", partial(name_it, word="hat")), *STEPS[1:]], listed_images([pictures]), out, shard=3)
    assert _CALLS and all("b" in name for name in _CALLS[-2:]) and _last(out)[5].images[0].width == 99


def test_a_run_that_is_ended_in_a_stage_goes_on_to_the_same(pictures: Path, tmp_path: Path) -> None:
    def ended(examples: Iterable[Example]) -> Iterator[Example]:
        for example in examples:
            if example.id.endswith("b/0.png"):
                raise KeyboardInterrupt
            yield from name_it([example])

    run_pipeline(STEPS, listed_images([pictures]), tmp_path / "whole", shard=2)
    with pytest.raises(KeyboardInterrupt):
        run_pipeline([Step("things", ended), *STEPS[1:]], listed_images([pictures]), tmp_path / "out", shard=2)
    half = folders_of(tmp_path / "out")["things"]
    assert sorted(half.records) == [0, 1] and not half.shard(2).exists()
    with open(half.path / "shards.jsonl", "a") as lines:
        lines.write('{"number": 2, "made')  # what is left of a line where the power went
    torn = Folder(half.path)
    assert sorted(torn.records) == [0, 1]
    torn.keep(torn.records[1])
    assert sorted(Folder(half.path).records) == [0, 1]
    run_pipeline(STEPS, listed_images([pictures]), tmp_path / "out", shard=2)
    assert _made(tmp_path / "out") == _made(tmp_path / "whole")


RECIPE = '''
"""A recipe whose stage takes its time."""
import time
from foveal.synth import Step, composed_by_template, deduped
from foveal.geometry import Box
from foveal.grounding import Note, tied
from foveal.synth import added

def slow(examples):
    for example in examples:
        time.sleep(0.05)
        yield added(example, Note(tied("cup", Box(0.1, 0.1, 0.5, 0.5)), "object", 0.9))

PIPELINE = [Step("slow", slow, processes=2), ("single", deduped()), ("description", composed_by_template())]
'''


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., list[str]]:
    """The command line of a run of a slow recipe, in a process of its own."""
    (tmp_path / "slow_recipe.py").write_text(RECIPE)

    def of(pictures: Path, out: Path) -> list[str]:
        return [sys.executable, "-m", "foveal", "synth", str(tmp_path / "slow_recipe.py"), str(pictures), "--out", str(out), "--shard", "2"]

    return of


@pytest.mark.slow
def test_a_run_that_is_killed_leaves_no_process_and_goes_on_to_the_same(pictures: Path, tmp_path: Path, command: Callable[..., list[str]]) -> None:
    for number in range(20):
        Image.new("RGB", (9, 9)).save(pictures / f"c{number:02d}.png")
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert subprocess.run(command(pictures, whole), capture_output=True, check=False).returncode == 0
    killed = subprocess.Popen(command(pictures, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not any(file.stat().st_size for file in out.glob("slow-*/shards.jsonl")):
        assert killed.poll() is None
        time.sleep(0.01)
    children = Path(f"/proc/{killed.pid}/task/{killed.pid}/children")
    workers = [int(one) for one in children.read_text().split()] if children.is_file() else []
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    half = len(folders_of(out)["slow"].records)
    assert 0 < half < 14
    until = time.monotonic() + 10
    while any(_runs(worker) for worker in workers):
        assert time.monotonic() < until, "a worker outlives the run"
        time.sleep(0.05)
    again = subprocess.run(command(pictures, out), capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert (_made(out) == _made(whole) and f"{2 * half} of them were done before" in again.stderr) or half


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_two_processes_make_what_one_makes(pictures: Path, tmp_path: Path) -> None:
    once = [Step("single", deduped()), Step("description", composed_by_template())]
    run_pipeline(once, listed_images([pictures]), tmp_path / "one", shard=2)
    run_pipeline([Step("single", deduped(), processes=2), once[1]], listed_images([pictures]), tmp_path / "two", shard=2)
    assert _made(tmp_path / "one") == _made(tmp_path / "two")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_ray_makes_what_one_process_makes_and_goes_on(pictures: Path, tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="pip install 'foveal[ray]' brings ray")
    from foveal.synth.cluster import ray_data

    (pictures / "a" / "bad.png").write_bytes(b"no picture")
    run_pipeline(STEPS[1:], listed_images([pictures]), tmp_path / "one", shard=2)
    try:
        for _ in range(2):
            run_pipeline(STEPS[1:], listed_images([pictures]), tmp_path / "two", shard=2, engine=ray_data({"single": (2, 2)}))
            assert _made(tmp_path / "one") == _made(tmp_path / "two")
    finally:
        ray.shutdown()
    kept = [sorted(record.sha256 for record in folders_of(tmp_path / name)["single"].records.values()) for name in ("one", "two")]
    assert kept[0] == kept[1] and len(kept[0]) == 4
    with pytest.raises(ValueError, match="no stage 'other' to have workers"):
        run_pipeline(STEPS[1:], listed_images([pictures]), tmp_path / "three", engine=ray_data({"other": (1, 1)}))


def test_a_bad_picture_is_reported_and_the_rest_done(pictures: Path, tmp_path: Path) -> None:
    (pictures / "a" / "bad.png").write_bytes(b"no picture")

    def choosy(examples: Iterable[Example]) -> Iterator[Example]:
        for example in examples:
            if example.id.endswith("a/1.png"):
                raise ZeroDivisionError("by nothing")
            yield refused(example, "it is too dull") if example.id.endswith("b/2.png") else example

    said: list[str] = []
    run_pipeline([Step("choosy", choosy), *STEPS], listed_images([pictures]), tmp_path / "out", shard=4, report=said.append)
    assert [Path(example.id).name for example in _last(tmp_path / "out")] == ["0.png", "2.png", "3.png", "0.png", "1.png"]
    assert len(said) == 3 and "bad.png is not an image" in said[0]
    assert said[1].endswith("a/1.png is left out: ZeroDivisionError: by nothing") and said[2].endswith("b/2.png is left out: it is too dull")
    records = folders_of(tmp_path / "out")["choosy"].records
    assert [len(records[number].refused) for number in range(2)] == [1, 1]


def test_a_stage_that_fails_on_all_ends_the_run_with_its_own_words(pictures: Path, tmp_path: Path) -> None:
    def broken(examples: Iterable[Example]) -> Iterator[Example]:
        for _ in examples:
            raise ValueError("There is no such model.")
        yield from ()

    with pytest.raises(ValueError, match="There is no such model"):
        run_pipeline([Step("broken", broken)], listed_images([pictures]), tmp_path / "out", shard=4)


def test_a_stage_may_not_take_notes_or_examples_away(pictures: Path, tmp_path: Path) -> None:
    def forgetful(examples: Iterable[Example]) -> Iterator[Example]:
        yield from (Example(example.id, example.images) for example in examples)

    def greedy(examples: Iterable[Example]) -> Iterator[Example]:
        yield from list(examples)[1:]

    with pytest.raises(ValueError, match="took 2 notes away"):
        run_pipeline([STEPS[0], Step("forgetful", forgetful)], listed_images([pictures]), tmp_path / "a", shard=4)
    with pytest.raises(ValueError, match="each is wanted back"):
        run_pipeline([Step("greedy", greedy)], listed_images([pictures]), tmp_path / "b", shard=4)


def test_what_was_left_out_is_worked_on_again_where_it_is_asked_for(pictures: Path, tmp_path: Path) -> None:
    out, broken = tmp_path / "out", [True]

    def odd(examples: Iterable[Example]) -> Iterator[Example]:
        for example in examples:
            if broken[0] and example.id.endswith("b/0.png"):
                raise ValueError("not now")
            yield from name_it([example])

    steps = [Step("things", odd), *STEPS[1:]]
    run_pipeline(steps, listed_images([pictures]), out, shard=3)
    broken[0] = False
    run_pipeline(steps, listed_images([pictures]), out, shard=3)
    assert len(_last(out)) == 6
    _CALLS.clear()
    run_pipeline(steps, listed_images([pictures]), out, shard=3, again=True)
    assert len(_last(out)) == 7 and len(_CALLS) == 3


def test_an_address_in_a_listing_is_left_out_with_what_is_wanted(pictures: Path, tmp_path: Path) -> None:
    (pictures / "all.txt").write_text("s3://bucket/a.png\nb/0.png\n")
    said: list[str] = []
    run_pipeline(STEPS, listed_images([pictures / "all.txt"]), tmp_path / "out", report=said.append)
    assert len(_last(tmp_path / "out")) == 1
    assert said == ["images: s3://bucket/a.png is an address; the path of a file is wanted, as below the folder where a bucket is mounted"]


def test_listings_and_examples_are_taken_as_folders_are(pictures: Path, tmp_path: Path) -> None:
    (pictures / "list.txt").write_text("a/1.png\n\nb/0.png\n")
    out = tmp_path / "out"
    run_pipeline(STEPS[:1], listed_images([pictures / "list.txt", pictures / "b" / "2.png"]), out)
    assert [Path(example.id).name for example in _last(out)] == ["1.png", "0.png", "2.png"]
    own = Note(GroundedText("what it shows"), "caption")
    lines = tmp_path / "known.jsonl"
    lines.write_text(
        json.dumps(
            {"id": "x", "images": [{"width": 8, "height": 6, "path": "pictures/a/0.png"}], "notes": [{"text": own.said.text, "source": "caption"}]}
        )
    )
    run_pipeline(STEPS, listed_images([lines]), tmp_path / "known")
    (example,) = _last(tmp_path / "known")
    assert example.notes[0] == own and example.turns[-1].said.text.startswith("What it shows. There is a cup")
    with pytest.raises(ValueError, match="there is no file or folder"):
        run_pipeline(STEPS, listed_images([tmp_path / "nowhere"]), tmp_path / "c")
    with pytest.raises(ValueError, match="there is no picture"):
        run_pipeline(STEPS, listed_images([]), tmp_path / "d")


def test_a_shard_keeps_facts_of_any_size_and_words_of_any_script(tmp_path: Path) -> None:
    facts = {"question": 2**70, "of": {7: 0.1}, "words": "größer 犬\u2028"}
    example = Example("1", notes=(Note(tied("犬", Box(0.1, 0.2, 0.30000000000000004, 1.0)), "object", 1e-9),), facts=facts)
    usual = Example("2", notes=example.notes, facts={"words": facts["words"]})
    record = write_shard(tmp_path / "0.jsonl", 0, "", [example, usual])
    again, kept_hash = read_shard(tmp_path / "0.jsonl")
    assert again == [Example("1", notes=example.notes, facts=facts | {"of": {"7": 0.1}}), usual]
    assert kept_hash == record.sha256


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_refused_before_it_is_lost(pictures: Path, tmp_path: Path, score: float) -> None:
    def scored(examples: Iterable[Example]) -> Iterator[Example]:
        return (added(example, Note(tied("cup"), "object", score if example.id.endswith("a/0.png") else 0.5)) for example in examples)

    told: list[str] = []
    run_pipeline((Step("scored", scored),), listed_images([pictures]), tmp_path / "out", report=told.append)
    kept = folders_of(tmp_path / "out")["scored"]
    assert [why for record in kept.records.values() for _, why in record.refused] == [
        f"a stage gave 'cup' the score {score}; a finite number, or none, is wanted"
    ]


def test_shards_of_another_length_are_refused(pictures: Path, tmp_path: Path) -> None:
    run_pipeline(STEPS, listed_images([pictures]), tmp_path / "out", shard=3)
    with pytest.raises(ValueError, match="holds shards of 3 examples, not 4"):
        run_pipeline(STEPS, listed_images([pictures]), tmp_path / "out", shard=4)


def test_the_settings_of_a_stage_say_what_it_does() -> None:
    assert settings_of(deduped(0.7)) == {"function": "foveal.synth.checks._deduped", "overlap": 0.7, "sources": ["object", "region", "segment"]}
    own = settings_of(partial(name_it, word="hat"))
    assert own["word"] == "hat" and len(own["source"]) == 16
    for wrong in ([], [("a", iter), ("a", iter)], [("images", iter)], ["a"], [("a", 7)]):
        with pytest.raises(ValueError, match="pipeline"):
            pipeline_of(wrong)
