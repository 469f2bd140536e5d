"""Laws of shards: what is written is read by its number, pictures and all; a folder of something else is left alone."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foveal.data.images import load_picture
from foveal.data.stored import StoredShards, write_parquet
from foveal.geometry import Box
from foveal.grounding import Example, Note, Picture, tied


def pictured(folder: Path, count: int) -> list[Example]:
    found = []
    for number in range(count):
        path = folder / f"{number}.png"
        Image.new("RGB", (8 + number, 6), (number, 0, 0)).save(path)
        notes = (Note(tied("é cat", Box(0.1, 0.2, 0.3, 0.4)), "object"),)
        found.append(Example(str(number), (Picture(8 + number, 6, str(path)),), notes=notes, facts={"n": number}))
    return found


def test_shards_hold_examples_and_their_pictures(tmp_path: Path) -> None:
    examples = [*pictured(tmp_path, 41), Example("words alone")]
    assert write_parquet(tmp_path / "shards", examples, rows=20) == 42
    assert sorted(path.name for path in (tmp_path / "shards").iterdir()) == ["00000.parquet", "00001.parquet", "00002.parquet"]
    for path in tmp_path.glob("*.png"):
        path.unlink()
    stored = StoredShards(tmp_path / "shards")
    assert len(stored) == 42
    for number in np.random.default_rng(0).permutation(41).tolist():
        example = stored[number]
        assert (example.id, example.notes, example.facts) == (str(number), examples[number].notes, {"n": number})
        assert load_picture(example.images[0]).getpixel((0, 0)) == (number, 0, 0)
    assert stored[41] == examples[41]
    with pytest.raises(IndexError):
        stored[42]


def test_a_picture_that_cannot_be_read_is_said_and_the_rest_written(tmp_path: Path) -> None:
    first, second, third = pictured(tmp_path, 3)
    (tmp_path / "1.png").write_bytes(b"no picture")
    data = BytesIO()
    Image.new("RGB", (10, 6)).save(data, "PNG")
    held = Example("held", (Picture(10, 6, data=data.getvalue()),))
    said: list[str] = []
    assert write_parquet(tmp_path / "shards", [first, second, third, held], report=said.append) == 3
    assert [one.id for one in (StoredShards(tmp_path / "shards")[n] for n in range(3))] == ["0", "2", "held"]
    assert len(said) == 1 and "example '1' is passed over" in said[0]


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"holds letters\.txt"):
        write_parquet(tmp_path, [Example("1")])
    assert (tmp_path / "letters.txt").read_text() == "mine"
    with pytest.raises(ValueError, match="no Parquet shard"):
        StoredShards(tmp_path)


def test_shards_of_any_number_keep_no_file_open(tmp_path: Path) -> None:
    write_parquet(tmp_path / "shards", (Example(str(number)) for number in range(3000)), rows=1000)
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else 0
    stored = StoredShards(tmp_path / "shards")
    assert (len(stored), len(stored.groups), stored[2999].id) == (3000, 189, "2999")
    assert not before or len(list(Path("/proc/self/fd").iterdir())) <= before + 2


def test_a_conversion_that_fails_leaves_the_shards_that_were(tmp_path: Path) -> None:
    write_parquet(tmp_path / "shards", [Example("old")])

    def failing() -> Iterator[Example]:
        yield Example("new")
        raise ValueError("torn")

    with pytest.raises(ValueError, match="torn"):
        write_parquet(tmp_path / "shards", failing(), rows=1)
    assert StoredShards(tmp_path / "shards")[0].id == "old" and [path.name for path in tmp_path.iterdir()] == ["shards"]


def test_a_shard_that_was_cut_or_changed_is_named(tmp_path: Path) -> None:
    place = tmp_path / "shards"
    write_parquet(place, pictured(tmp_path, 3))
    shard = place / "00000.parquet"
    written = shard.read_bytes()
    shard.write_bytes(written[:-20])
    with pytest.raises(ValueError, match=r"00000\.parquet is no whole Parquet file: "):
        len(StoredShards(place))
    shard.write_bytes(written[:4] + bytes(200) + written[204:])
    with pytest.raises(ValueError, match=r"00000\.parquet, group of rows 0, cannot be read: "):
        StoredShards(place)[0]
