"""How well and how fast text is read: words found at their places, pictures a second by one process and by two: `python benchmarks/texts.py`.

Pages are drawn, so that every word is known; `--data FOLDER` takes marked pictures instead (annotations.jsonl whose "text line" regions have a text).
"""

import argparse
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from foveal.data.notes import box_in, note
from foveal.data.sources.segments import marked_pictures
from foveal.geometry import Box, bounding_box
from foveal.geometry.boxes import box_array, iou
from foveal.grounding import Example, Note, Picture
from foveal.synth import Step, read_text, run_pipeline, scored_above, standing
from foveal.synth.running import folders_of
from foveal.synth.shards import read_shard

__all__ = ["drawn_pages", "main", "read_all", "word_counts"]

_WORDS = """total cash change invoice street open daily table harbour window seven garden market station bridge paper coffee orange silver number
price date thank please enter exit north left ticket library museum river signal winter receipt company account balance order quantity amount item"""


def drawn_pages(folder: Path, count: int, seed: int) -> Iterator[Example]:
    """Pages of 12 lines of two to five words in letters of 15 to 30 pixels, each line a note with source "text"."""
    rng = np.random.default_rng(seed)
    for page in range(count):
        image = Image.new("RGB", (720, 640), "white")
        pen, notes, top = ImageDraw.Draw(image), [], 20
        for _ in range(12):
            font = ImageFont.load_default(int(rng.integers(15, 31)))
            words = " ".join(str(word) for word in rng.choice(_WORDS.split(), int(rng.integers(2, 6))))
            left = int(rng.integers(10, 120))
            pen.text((left, top), words, fill="black", font=font)
            box = pen.textbbox((left, top), words, font=font)
            notes.append(note(words, box_in(box, image.size), source="text"))
            top = int(box[3]) + 18
        image.save(folder / f"{page}.png")
        yield Example(str(page), (Picture(*image.size, path=str(folder / f"{page}.png")),), notes=tuple(notes))


def marked_lines(folder: Path) -> Iterator[Example]:
    """Marked pictures with the texts of their lines alone."""
    for example in marked_pictures(folder):
        pairs = zip(example.notes, example.notes[1:], strict=False)
        yield replace(example, notes=tuple(text for line, text in pairs if line.said.text == "text line" and text.source == "text"), facts={})


def read_all(examples: Sequence[Example], out: Path, processes: int, threads: int) -> tuple[list[Example], float]:
    """What is read in pictures that nothing is known of, and the seconds a picture took, the opening of the models left out."""
    bare = [replace(example, notes=()) for example in examples]
    heard: list[tuple[float, int]] = []
    steps = (Step("text", read_text(threads=threads), processes=processes),)
    run_pipeline(
        steps, bare, out, shard=2, heard=lambda name, done, begun, total: heard.append((time.perf_counter(), done)) if name == "text" else None
    )
    folder = folders_of(out)["text"]
    found = [example for number in range(len(folder.records)) for example in read_shard(folder.shard(number))[0]]
    first, last = heard[processes], heard[-1]  # until each process has done a shard, models are opened
    return found, (last[0] - first[0]) / max(1, last[1] - first[1])


def word_counts(truth: Sequence[Note], read: Sequence[Note]) -> Counter[str]:
    """Words there are, words read, and words found: the same letters but for case, at a place of IoU 0.5 or more, each once. A word's place is its
    share of its line by the count of letters."""
    true, said = _words(truth), _words(read)
    counts = Counter(words=len(true), read=len(said), found=0)
    if true and said:
        same = np.array([[one == other for other, _ in said] for one, _ in true])
        overlaps = np.where(same, iou(box_array([box for _, box in true]), box_array([box for _, box in said])), 0.0)
        for row in np.argsort(-overlaps.max(1)):
            if overlaps[row].max() >= 0.5:
                counts["found"] += 1
                overlaps[:, overlaps[row].argmax()] = 0
    return counts


def _words(notes: Sequence[Note]) -> list[tuple[str, Box]]:
    found = []
    for line in notes:
        text, box = line.said.text, bounding_box(line.said.regions[0])
        across, start = (box.x1 - box.x0) / len(text), 0
        for word in text.split():
            start = text.index(word, start)
            end = start + len(word)
            found.append((word.casefold(), Box(box.x0 + start * across, box.y0, box.x0 + end * across, box.y1)))
            start = end
    return found


def measure(examples: Sequence[Example], ways: Sequence[tuple[int, int]]) -> dict[str, float]:
    """Recall and precision of words, of all lines and of those that stand, and pictures a second for each (processes, threads)."""
    found: dict[str, float] = {"pictures": len(examples)}
    with tempfile.TemporaryDirectory() as place:
        for processes, threads in ways:
            read, found[f"{processes} x {threads}"] = read_all(examples, Path(place, f"{processes}-{threads}"), processes, threads)
    for name, some in (("all", read), ("above 0.85", list(scored_above()(iter(read))))):
        pairs = zip(examples, some, strict=True)
        counts = sum((word_counts(example.notes, standing(one, "text")) for example, one in pairs), Counter())
        found |= {f"recall, {name}": counts["found"] / max(1, counts["words"]), f"precision, {name}": counts["found"] / max(1, counts["read"])}
    return found


def main() -> None:
    """Prints what is found, and how fast."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="a folder with annotations.jsonl")
    parser.add_argument("--limit", type=int, default=16)
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--ways", default="1x1,2x1", help="processes x threads, which are timed one after the other")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one object instead of the table")
    given = parser.parse_args()
    ways = [(int(one.partition("x")[0]), int(one.partition("x")[2])) for one in given.ways.split(",")]
    with tempfile.TemporaryDirectory() as place:
        found = marked_lines(given.data) if given.data else drawn_pages(Path(place), given.limit, given.seed)
        examples = list(islice(found, given.skip, given.skip + given.limit))
        measured = measure(examples, ways)
    if given.json:
        print(json.dumps(measured))
        return
    print(f"{len(examples)} {'pictures of ' + given.data.name if given.data else 'drawn pages'}, {os.cpu_count()} cores")
    print("| | |\n|---|---|")
    for name, value in measured.items():
        if " x " in name:
            print(f"| {name.partition(' x ')[0]} processes of {name.partition(' x ')[2]} threads, pictures a second | {1 / value:.3g} |")
        elif name != "pictures":
            print(f"| words: {name} | {value:.1%} |")


if __name__ == "__main__":
    main()
