"""Laws of reading: a file larger than memory is read, nothing in one is executed, and a bad record or a torn end is said by name."""

import gzip
import json
import os
import pickle
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from foveal.data.reading import (
    Grouped,
    array_of,
    child_of,
    entries_of,
    file_within,
    made_of,
    needed,
    object_of,
    pairs_of,
    read_pickle,
    read_xml,
    some_of,
    text_lines,
)

READERS: dict[str, Callable[[Path], Iterator[Any]]] = {
    "array": array_of,
    "pairs": pairs_of,
    "child": lambda path: iter([child_of(path, "a")]),
    "lines": text_lines,
}


def written(path: Path, record: Any) -> Path:
    path.write_text(record if isinstance(record, str) else json.dumps(record))
    return path


def test_an_array_is_never_held_as_a_whole(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", f'{{"info": {{}}, "annotations": [{",".join(["[1, 2.5]" + " " * 90] * 200_000)}]}}')
    assert path.stat().st_size > 19_000_000
    tracemalloc.start()
    try:
        count = sum(1 for _ in array_of(path, "annotations"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 200_000 and peak < 2_000_000


def test_arrays_children_and_pairs_are_found_by_name(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", {"info": {"year": 2017, "items": [7]}, "images": [{"id": 1}, 2.5, "three"], "empty": []})
    assert list(array_of(path, "images")) == [(f"{path}, images {place},", one) for place, one in enumerate([{"id": 1}, 2.5, "three"])]
    assert [one for _, one in array_of(path, "info.items")] == [7]
    assert [list(array_of(path, name)) for name in ("empty", "nothing", "info", "")] == [[], [], [], []]
    assert (child_of(path, "info"), child_of(path, "nothing")) == ({"year": 2017, "items": [7]}, None)
    assert next(pair for _, pair in pairs_of(path)) == ("info", {"year": 2017, "items": [7]})
    assert [name for name, _ in pairs_of(path)] == [f"{path}, {key!r}," for key in ("info", "images", "empty")]
    assert not list(pairs_of(written(tmp_path / "b.json", [1, 2])))
    assert [one for _, one in array_of(tmp_path / "b.json")] == [1, 2]


@pytest.mark.parametrize("kind", READERS)
def test_a_compressed_file_is_read_as_it_is(tmp_path: Path, kind: str) -> None:
    text = json.dumps([{"id": number} for number in range(3000)]) + "\n" if kind == "array" else json.dumps({"a": list(range(3000))}) + "\n"
    (tmp_path / "a").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "b").write_text(text)
    packed, plain = ([one[1] if isinstance(one, tuple) else one for one in READERS[kind](tmp_path / name)] for name in "ab")
    assert packed == plain and plain


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("broken", [lambda gz: gz[: len(gz) // 2], lambda gz: gz[:400] + bytes(9) + gz[409:], lambda _: b"\x1f\x8b"])
def test_a_torn_or_damaged_compressed_file_is_refused_by_name(tmp_path: Path, kind: str, broken: Callable[[bytes], bytes]) -> None:
    text = json.dumps({"b": [{"id": number, "hash": hash(str(number))} for number in range(3000)]})
    (tmp_path / "a.gz").write_bytes(broken(gzip.compress(text.encode())))
    with pytest.raises(ValueError, match=r"a\.gz is no whole"):
        list(READERS[kind](tmp_path / "a.gz"))


@pytest.mark.parametrize("kind", ["array", "pairs", "child"])
@pytest.mark.parametrize("text", ["{", "[", "no json", "", '[{"id": 1', '{"b": [1, 2', "[1] 2", '{"a\xff": 1}'])
def test_what_is_no_json_is_refused_by_name(tmp_path: Path, kind: str, text: str) -> None:
    (tmp_path / "a.json").write_bytes(text.encode("latin1"))
    with pytest.raises(ValueError, match=r"a\.json is no whole JSON file"):
        list(READERS[kind](tmp_path / "a.json"))


@pytest.mark.parametrize("kind", READERS)
def test_a_file_that_is_not_there_is_named(tmp_path: Path, kind: str) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(ValueError, match=f"there is no file {path}"):
            list(READERS[kind](path))


def test_lines_are_numbered_as_an_editor_does_and_empty_ones_left_out(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes("é\r\n\n \nb\xff".encode("latin1"))
    assert list(text_lines(tmp_path / "a")) == [(f"{tmp_path / 'a'}, line 1,", "\ufffd"), (f"{tmp_path / 'a'}, line 4,", "b\ufffd")]
    for line, reason in (("[1]", "holds a list"), ("3", "holds a int"), ("{", "Expecting")):
        with pytest.raises(ValueError, match=reason):
            object_of(line)


def test_what_cannot_be_made_is_said_and_the_rest_goes_on() -> None:
    def make(record: Any) -> Any:
        return None if record == "quiet" else 10 / record["by"][0]

    bad = [{}, 3, {"by": []}, {"by": 4}]
    records = [("one", {"by": [2]}), *((f"bad {place}", one) for place, one in enumerate(bad)), ("quiet", "quiet"), ("two", {"by": [5]})]
    said: list[str] = []
    assert list(made_of(records, make, said.append)) == [5.0, 2.0]
    assert len(said) == len(bad) and all(line.startswith(f"bad {place} is passed over: ") for place, line in enumerate(said))
    assert said[0] == "bad 0 is passed over: it has no 'by'"
    with pytest.raises(ZeroDivisionError):  # a fault of ours is no fault of the record
        list(made_of([("zero", {"by": [0]})], make, said.append))


def test_reading_is_lazy_and_nothing_at_all_is_refused() -> None:
    said: list[str] = []
    made = some_of(made_of([("one", "1"), ("two", "x")], int, said.append), "nothing")
    assert next(made) == 1 and not said
    assert list(made) == [] and said
    with pytest.raises(ValueError, match="nothing of a"):
        next(some_of(made_of([("one", "x")], int, said.append), "nothing of a"))
    assert [name for name, _ in entries_of([{"id": 5}, {"id": None}, "x"], "mark", "image 2")] == [
        "mark 5 of image 2",
        "mark None of image 2",
        "mark 2 of image 2",
    ]


def test_records_by_key_keep_their_order_and_leave_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQLITE_TMPDIR", str(tmp_path))
    keys = [number * 7919 % 100 for number in range(20_000)]
    kept = Grouped((key, {"n": number, "words": "é" * 50}) for number, key in enumerate(keys))
    assert [one["n"] for one in kept.of(7)] == [number for number, key in enumerate(keys) if key == 7]
    assert list(kept.keys()) == [str(key) for key in dict.fromkeys(keys)]
    assert (kept.of("7") == kept.of(7), kept.of("none"), kept.of("' OR 1=1 --")) == (True, [], [])
    del kept
    assert not list(tmp_path.iterdir())


def test_a_pickle_of_plain_things_is_read_in_every_protocol(tmp_path: Path) -> None:
    plain = [{"ref_id": 3, "sent": "the left é", "box": [1.5, -2, 10**20], "ok": True, "none": None, "pair": (1, "a")}]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        (tmp_path / "a.p").write_bytes(pickle.dumps(plain, protocol))
        assert read_pickle(tmp_path / "a.p") == plain
    (tmp_path / "a.p").write_bytes(b"(lp0\n(dp1\nS'sent'\np2\nS'caf\\xe9'\np3\nsa.")  # as Python 2 writes it
    assert read_pickle(tmp_path / "a.p") == [{"sent": "café"}]


class Call:
    """What a pickle calls while it is loaded."""

    def __init__(self, function: Callable[..., Any], *given: Any) -> None:
        self.function, self.given = function, given

    def __reduce__(self) -> Any:
        return self.function, self.given


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(("function", "given"), [(os.system, "touch {}"), (eval, "open('{}', 'w')"), (os.mkdir, "{}"), (getattr, "{}")])
def test_a_pickle_calls_nothing(tmp_path: Path, protocol: int, function: Callable[..., Any], given: str) -> None:
    made = tmp_path / "made"
    (tmp_path / "a.p").write_bytes(pickle.dumps([{"a": Call(function, given.format(made))}], protocol))
    with pytest.raises(
        ValueError, match=r"a\.p is no pickle that can be read: it names \w+\.\w+; only numbers, texts, lists and dictionaries are read"
    ):
        read_pickle(tmp_path / "a.p")
    assert not made.exists()


def test_a_torn_or_foreign_pickle_is_refused_by_name(tmp_path: Path) -> None:
    whole = pickle.dumps([{"sent": "the cat", "box": [1, 2, 3, 4]}] * 20)
    odd = [b"{}", b"not a pickle", b"\x80\x04\x8d" + b"\xff" * 8, b"PK\x03\x04", b"]\x82\x01."]
    for text in (*(whole[:end] for end in range(0, len(whole), 7)), *odd):
        (tmp_path / "a.p").write_bytes(text)
        with pytest.raises(ValueError, match=r"a\.p is no pickle that can be read"):
            read_pickle(tmp_path / "a.p")


BOMB = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "ha">{}]><a>&x9;</a>'.format(
    "".join(f'<!ENTITY x{n} "{f"&x{n - 1 or str()};" * 10}">' for n in range(1, 10))
)


@pytest.mark.parametrize(
    "text",
    [BOMB, '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>', "<a>", "", "{}", "<a></b>"],
    ids=["bomb", "another file", "torn", "empty", "json", "crossed"],
)
def test_xml_that_is_broken_or_declares_entities_is_refused_by_name(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"a\.xml is no XML that can be read"):
        read_xml(written(tmp_path / "a.xml", text))
    assert read_xml(written(tmp_path / "b.xml", "<a><b>1</b></a>")).findtext("b") == "1"


def test_a_file_is_found_within_its_folder_and_never_outside(tmp_path: Path) -> None:
    (tmp_path / "images/train").mkdir(parents=True)
    for place in ("images/train/a.jpg", "images/b.jpg", "c.jpg"):
        written(tmp_path / place, "x")
    folder = tmp_path / "images"
    for name in ("train/a.jpg", "v1/patch/train/a.jpg", "./train/a.jpg"):
        assert file_within(folder, name) == folder / "train/a.jpg"
    assert file_within(folder, "train2017/b.jpg") == folder / "b.jpg"
    for name in ("../c.jpg", "train/../../c.jpg", str(tmp_path / "c.jpg"), "/c.jpg", "", "."):
        with pytest.raises(ValueError, match="is no name of a file within"):
            file_within(folder, name)
    for name in ("c.jpg", "train", "a.jpg"):
        with pytest.raises(ValueError, match="there is no file"):
            file_within(folder, name)


def test_a_module_that_is_missing_is_asked_for() -> None:
    assert needed("json") is json
    with pytest.raises(ValueError, match=r"this wants foveal\.nothing; pip install 'foveal\[data\]'"):
        needed("foveal.nothing")
