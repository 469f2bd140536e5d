"""Laws of the readers of captioned pictures: samples by name, boxes on the words of the caption, and torn archives that cost only their end."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from foveal.data.images import load_picture
from foveal.data.sources.image_text import kosmos_grit, webdataset
from foveal.geometry import Box
from foveal.grounding import Span, example_from_json, example_to_json

CAPTION = "a wire hanger with a paper cover that reads we heart our customers"
# start, end, x0, y0, x1, y1, score
CHUNKS = [[19.0, 32.0, 0.25, 0.1, 0.5, 0.9, 0.6], [0.0, 13.0, 0.0, 0.0, 1.0, 0.5, 0.9], [0.0, 13.0, 0.5, 0.5, 1.0, 1.0, 0.8]]
EXPRESSIONS = [[19.0, 66.0, 0.25, 0.1, 0.5, 0.9, 0.6]]
ROW = {
    "key": "000000012",
    "clip_similarity_vitb32": 0.25,
    "clip_similarity_vitl14": 0.2,
    "id": 1795296605919,
    "url": "https://example.com/a.jpg",
    "caption": CAPTION,
    "width": 1024,
    "height": 693,
    "noun_chunks": CHUNKS,
    "ref_exps": EXPRESSIONS,
}
META = {"caption": "A cat.", "url": "https://example.com/a.jpg", "key": "000000000", "status": "success", "error_message": None}


def encoded(kind: str = "JPEG", size: tuple[int, int] = (64, 48)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size).save(buffer, kind)
    return buffer.getvalue()


def archive(path: Path, *members: tuple[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as file:  # type: ignore[call-overload]
        for name, data in members:
            header = tarfile.TarInfo(name)
            header.size = len(data)
            file.addfile(header, io.BytesIO(data))
    return path


def sample(key: str, **other: Any) -> list[tuple[str, bytes]]:
    """As img2dataset writes it (github.com/rom1504/img2dataset, README, Output format)."""
    record = META | {"key": key} | other
    return [(f"{key}.jpg", encoded()), (f"{key}.json", json.dumps(record).encode()), (f"{key}.txt", str(record["caption"]).encode())]


def parquet(path: Path, *rows: dict[str, Any]) -> Path:
    """The columns and types of the data card of zzliang/GRIT."""
    pq.write_table(pa.Table.from_pylist(list(rows)), path, row_group_size=2)
    return path


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_members_of_one_name_are_a_picture_and_its_caption(tmp_path: Path, mode: str) -> None:
    path = archive(tmp_path / "00000.tar", *sample("000000000"), *sample("000000001", caption="Two dogs. ", license="CC0"), mode=mode)
    first, second = webdataset(path, licence="as the addresses say")
    assert (first.id, second.id, first.licence) == ("00000/000000000", "00000/000000001", "as the addresses say")
    assert (first.facts, second.facts) == ({"url": META["url"]}, {"url": META["url"], "license": "CC0"})
    assert [(note.said.text, note.source, note.said.spans) for note in second.notes] == [("Two dogs.", "caption", ())]
    assert (first.images[0].width, first.images[0].height, first.images[0].data) == (64, 48, encoded())
    assert load_picture(first.images[0]).size == (64, 48)
    assert example_from_json(example_to_json(first)) == first
    assert [file.name for file in tmp_path.iterdir()] == ["00000.tar"], "nothing is unpacked"


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_caption_alone_is_enough_and_names_may_lie_in_folders(tmp_path: Path, kind: str) -> None:
    members = [("./a/7.TXT", b"A cat."), (f"./a/7.{kind.lower()}", encoded(kind)), ("./b/7.txt", b"A dog."), ("./b/7.jpg", encoded())]
    examples = list(webdataset(archive(tmp_path / "s.tar", ("./a", b""), ("./a/7.cls", b"3"), *members)))
    assert [(example.id, example.notes[0].said.text) for example in examples] == [("s/a/7", "A cat."), ("s/b/7", "A dog.")]


def test_many_archives_are_read_one_after_the_other(tmp_path: Path) -> None:
    for name in ("00001.tar", "00000.tar"):
        archive(tmp_path / name, *sample("0"))
    assert [example.id for example in webdataset(str(tmp_path / "*.tar"))] == ["00000/0", "00001/0"]
    assert [example.id for example in webdataset([tmp_path / "00001.tar"])] == ["00001/0"]
    with pytest.raises(ValueError, match="no file"):
        webdataset([tmp_path / "00001.tar", tmp_path / "00002.tar"])


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("a.txt", b"A cat.")], "no picture"),
        ([("a.jpg", encoded())], "no caption"),
        ([("a.jpg", encoded()), ("a.txt", b" ")], "no caption"),
        ([("a.jpg", encoded()), ("a.json", b'{"caption": null}')], "no caption"),
        ([("a.jpg", encoded()), ("a.json", b'{"caption": 7}')], "no caption"),
        ([("a.jpg", encoded()), ("a.json", b"{")], "Expecting"),
        ([("a.jpg", encoded()), ("a.json", b"[]"), ("a.txt", b"A cat.")], "wants an object"),
        ([("a.jpg", b"no picture"), ("a.txt", b"A cat.")], "not an image"),
        ([("a.jpg", encoded()), ("a.txt", b"A cat. " * 1000)], "a.txt has more than 5,000 bytes"),
    ],
)
def test_a_sample_that_cannot_be_used_is_said(tmp_path: Path, members: list[tuple[str, bytes]], reason: str) -> None:
    said: list[str] = []
    path = archive(tmp_path / "s.tar", *members, *sample("b"))
    assert [example.id for example in webdataset(path, max_member=5000, report=said.append)] == ["s/b"]
    assert len(said) == 1 and "s.tar, sample a, is passed over" in said[0] and reason in said[0], said


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_torn_archive_costs_only_its_end(tmp_path: Path, mode: str) -> None:
    whole = archive(tmp_path / "a.tar", *(member for key in "012345" for member in sample(key)), mode=mode).read_bytes()
    archive(tmp_path / "b.tar", *sample("6"))
    for kept in range(len(whole) // 3, len(whole) * 2 // 3, 331 if mode == "w" else 97):
        (tmp_path / "a.tar").write_bytes(whole[:kept])
        said: list[str] = []
        found = [example.id for example in webdataset([tmp_path / "a.tar", tmp_path / "b.tar"], report=said.append)]
        assert found[-1] == "b/6" and found[:-1] == [f"a/{number}" for number in range(len(found) - 1)], kept
        assert (len(said) == 1 and "torn" in said[0]) or (mode == "w" and kept % 512 == 0), (kept, said)


def test_a_broken_header_is_a_tear_too(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.tar", *sample("0"), *sample("1"), *sample("2"))
    path.write_bytes(path.read_bytes().replace(b"2.jpg", b"?.jpg", 1))
    said: list[str] = []
    assert [example.id for example in webdataset(path, report=said.append)] == ["a/0"], "the last before the tear may lack a part"
    assert len(said) == 1 and "torn" in said[0]


@pytest.mark.parametrize("data", [b"", b"not an archive", b"\x1f\x8bnot gzip either", json.dumps(META).encode() * 100])
def test_another_kind_of_file_is_refused_by_name(tmp_path: Path, data: bytes) -> None:
    for read, name in ((webdataset, "a.tar"), (kosmos_grit, "a.parquet")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=name.replace(".", r"\.")):
            list(read(tmp_path / name, report=lambda said: None))


def check_grounded(example: Any) -> None:
    caption, expression = example.notes
    assert (caption.said.text, caption.source) == (CAPTION, "caption")
    assert caption.said.spans == (
        Span(0, 13, (Box(0.0, 0.0, 1.0, 0.5), Box(0.5, 0.5, 1.0, 1.0)), (0.9, 0.8)),
        Span(19, 32, (Box(0.25, 0.1, 0.5, 0.9),), (0.6,)),
    )
    words = "a paper cover that reads we heart our customers"
    assert (expression.said.text, expression.source, expression.said.spans) == (
        words,
        "expression",
        (Span(0, len(words), (Box(0.25, 0.1, 0.5, 0.9),), (0.6,)),),
    )
    assert example_from_json(example_to_json(example)) == example


def test_grit_ties_the_words_of_the_caption_to_boxes(tmp_path: Path) -> None:
    """`noun_chunks` and `ref_exps` are rows (start, end, x0, y0, x1, y1, score) of fractions (microsoft/unilm, kosmos-2/data/visualize_grit.py)."""
    examples = list(kosmos_grit(parquet(tmp_path / "coyo_0_snappy.parquet", *({**ROW, "id": number} for number in range(5))), licence="ms-pl"))
    assert [example.id for example in examples] == ["0", "1", "2", "3", "4"]
    check_grounded(examples[4])
    assert (examples[0].images, examples[0].licence) == ((), "ms-pl")
    assert examples[0].facts == {"url": ROW["url"], "clip_similarity_vitb32": 0.25, "clip_similarity_vitl14": 0.2}


def test_grit_as_img2dataset_keeps_it_says_the_same(tmp_path: Path) -> None:
    """The caption, noun_chunks and ref_exps lie in the sample's .json (microsoft/unilm, kosmos-2/data/prepare_grit.py)."""
    [example] = webdataset(archive(tmp_path / "00000.tar", *sample(**ROW)))
    check_grounded(example)


@pytest.mark.parametrize("kept", ["000000012.jpg", "00000/000000012.png"])
def test_pictures_of_grit_are_named_by_their_key(tmp_path: Path, kept: str) -> None:
    (tmp_path / kept).parent.mkdir(exist_ok=True)
    Image.new("RGB", (64, 48)).save(tmp_path / kept)
    said: list[str] = []
    path = parquet(tmp_path / "a.parquet", ROW, {**ROW, "key": "000000013"}, {**ROW, "key": "../a"})
    [example] = kosmos_grit(path, images=tmp_path, report=said.append)
    assert (example.images[0].path, example.images[0].width) == (str(tmp_path / kept), 64)
    assert len(said) == 2 and all("there is no picture" in line for line in said)


@pytest.mark.parametrize(
    ("chunk", "reason"),
    [
        ([0.0, 99.0, 0.0, 0.0, 1.0, 0.5, 0.9], "characters 0 to 99"),
        ([5.0, 5.0, 0.0, 0.0, 1.0, 0.5, 0.9], "characters 5 to 5"),
        ([0.0, 13.0, 0.5, 0.5, 0.5, 0.9, 0.9], "no area"),
        ([0.0, 13.0, 0.5, 0.5], "wants start, end"),
    ],
)
def test_a_chunk_that_cannot_be_used_is_said_and_the_caption_kept(tmp_path: Path, chunk: list[float], reason: str) -> None:
    said: list[str] = []
    [example] = kosmos_grit(parquet(tmp_path / "a.parquet", ROW | {"noun_chunks": [chunk, CHUNKS[0]]}), report=said.append)
    assert len(example.notes[0].said.spans) == 1
    assert len(said) == 1 and f"noun_chunks 0 of row {ROW['id']} is passed over" in said[0] and reason in said[0], said


def test_a_parquet_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", {"image": "a.jpg", "caption": "A cat."})
    with pytest.raises(ValueError, match=r"a\.parquet is no file of GRIT: it has no column 'noun_chunks'"):
        list(kosmos_grit(path))
    path.write_bytes(parquet(path, ROW).read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"a\.parquet is no whole parquet"):
        list(kosmos_grit(path))
