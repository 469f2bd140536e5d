"""Laws of mixtures: shares by weight, every example once before any twice, the same visit the same example, whoever asks."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from accelerate.data_loader import BatchSamplerShard, skip_first_batches
from PIL import Image
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

from foveal.data.mixture import Mixture, Part
from foveal.data.stored import Stored
from foveal.grounding import Example, Picture, write_examples


def examples(name: str, count: int) -> list[Example]:
    return [Example(f"{name} {number}") for number in range(count)]


def seen(mixture: Mixture) -> list[str]:
    return [mixture[visit].id for visit in range(len(mixture))]


def identity(rows: list[Example]) -> list[Example]:
    return rows


@pytest.mark.parametrize("seed", range(5))
def test_shares_follow_weights_whatever_the_sizes(seed: int) -> None:
    mixture = Mixture([Part(examples("a", 5), 3.0), Part(examples("b", 400), 1.0), Part(examples("c", 7), 0.5)], visits=900, seed=seed)
    count = Counter(name.split()[0] for name in seen(mixture))
    assert abs(count["a"] - 600) <= 2 and abs(count["b"] - 200) <= 2 and abs(count["c"] - 100) <= 2
    first = Counter(name.split()[0] for name in seen(mixture)[:100])
    assert abs(first["a"] - 67) <= 3  # no stretch lacks a part


def test_every_example_comes_once_before_any_comes_twice() -> None:
    mixture = Mixture([Part(examples("a", 7)), Part(examples("b", 3))], visits=140)
    for name, count in (("a", 7), ("b", 3)):
        of_part = [one for one in seen(mixture) if one.startswith(name)]
        rounds = [of_part[start : start + count] for start in range(0, len(of_part) - count + 1, count)]
        assert len(rounds) > 5 and all(len(set(one)) == count for one in rounds) and len({tuple(one) for one in rounds}) > 1


def test_a_visit_shows_the_same_whoever_asks_and_in_whatever_order() -> None:
    def told(example: Example, rng: np.random.Generator) -> Example:
        return Example(f"{example.id} {rng.integers(1 << 30)}")

    first, second = (Mixture([Part(examples("a", 5), 1.0, told), Part(examples("b", 9), 2.0, told)], visits=60, seed=4) for _ in range(2))
    order = np.random.default_rng(0).permutation(60)
    assert [first[int(visit)].id for visit in order] == [seen(second)[visit] for visit in order]
    assert seen(first) != seen(Mixture([Part(examples("a", 5), 1.0, told), Part(examples("b", 9), 2.0, told)], visits=60, seed=5))


@pytest.mark.parametrize("workers", [0, 2])
def test_ranks_and_workers_share_the_visits_without_overlap(workers: int) -> None:
    mixture = Mixture([Part(examples("a", 50)), Part(examples("b", 30))], visits=48)
    whole = BatchSampler(SequentialSampler(mixture), 4, drop_last=False)
    found = []
    for rank in range(2):
        loader = DataLoader(mixture, batch_sampler=BatchSamplerShard(whole, 2, rank), collate_fn=identity, num_workers=workers)
        found.append([one.id for batch in loader for one in batch])
    assert sorted(found[0] + found[1]) == sorted(seen(mixture)) and len(found[0]) == len(found[1]) == 24
    rest = skip_first_batches(DataLoader(mixture, 4, collate_fn=identity), 5)
    assert [one.id for batch in rest for one in batch] == seen(mixture)[20:]


def test_visits_together_come_from_one_part() -> None:
    mixture = Mixture([Part(examples("a", 50), 5.0), Part(examples("b", 30), 1.0)], visits=66, together=8)
    batches = [{name.split()[0] for name in seen(mixture)[start : start + 8]} for start in range(0, 66, 8)]
    assert all(len(batch) == 1 for batch in batches) and len(set.union(*batches)) == 2


def test_grouped_batches_are_alike_and_show_the_same_examples() -> None:
    sized = [Example(str(number), (Picture(int(side), 8, "a.png"),)) for number, side in enumerate(np.random.default_rng(0).integers(1, 300, 200))]

    def side(example: Example) -> int:
        return example.images[0].width

    plain = Mixture([Part(sized)], visits=100)
    grouped = Mixture([Part(sized)], visits=100, key=side, group=4, span=5)
    assert sorted(seen(plain)) == sorted(seen(grouped)) and seen(plain) != seen(grouped)
    assert all(sorted(seen(plain)[start : start + 20]) == sorted(seen(grouped)[start : start + 20]) for start in range(0, 100, 20))

    def waste(mixture: Mixture) -> float:
        sides = np.array([side(mixture[visit]) for visit in range(100)]).reshape(-1, 4)
        return 1 - sides.sum() / (sides.max(1) * 4).sum()

    assert waste(grouped) < waste(plain) / 2
    firsts = [side(grouped[start]) for start in range(0, 20, 4)]
    assert firsts != sorted(firsts)  # batches come in random order


def test_what_cannot_be_used_gives_its_place_to_the_next(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    write_examples(path, examples("a", 6))
    lines = path.read_text().splitlines()
    lines[2] = lines[2][:5]
    path.write_text("\n".join([*lines, "", json.dumps({"id": "odd"})]))
    said: list[str] = []

    def even(example: Example, rng: np.random.Generator) -> Example | None:
        return None if example.id == "odd" else example

    mixture = Mixture([Part(Stored(path), 1.0, even)], visits=14, report=said.append)
    assert set(seen(mixture)) == {f"a {number}" for number in range(6)} - {"a 2"}
    assert said and all("record 3" in one and "passed over" in one for one in said)
    with pytest.raises(ValueError, match="none of 1000 examples of part 0"):
        Mixture([Part(examples("a", 3), 1.0, lambda example, rng: None)], visits=2)[0]


@pytest.mark.parametrize("parts", [[], [Part([])], [Part(examples("a", 1), 0.0)]])
def test_an_empty_mixture_is_refused(parts: list[Part]) -> None:
    with pytest.raises(ValueError, match="a mixture wants"):
        Mixture(parts, visits=1)


def test_stored_examples_are_read_by_number(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    kept = [Example(f"é {number}", (Picture(4, 2, str(tmp_path / "a.png")),)) for number in range(5)]
    write_examples(path, kept)
    stored = Stored(path)
    assert len(stored) == 5 and [stored[number] for number in (3, 0, 4)] == [kept[3], kept[0], kept[4]]
    with pytest.raises(IndexError):
        stored[5]
    with pytest.raises(ValueError, match="there is no file"):
        Stored(tmp_path / "other.jsonl")


def test_a_picture_that_cannot_be_read_gives_its_place_to_the_next(tmp_path: Path) -> None:
    sized = []
    for number in range(4):
        Image.new("RGB", (8, 6), (number, 0, 0)).save(tmp_path / f"{number}.png")
        sized.append(Example(str(number), (Picture(8, 6, str(tmp_path / f"{number}.png")),)))
    (tmp_path / "2.png").write_bytes(b"torn")
    said: list[str] = []
    mixture = Mixture([Part(sized)], visits=8, look=True, report=said.append)
    assert set(seen(mixture)) == {"0", "1", "3"} and len(said) == 2
    assert all(mixture[visit].images[0].pixels is not None for visit in range(8))
