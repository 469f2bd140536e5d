"""The ledger of published data sets: what it says can be looked up, and docs/data_sets.md says the same."""

from pathlib import Path

import pytest

from foveal.cli.sources import SOURCES
from foveal.data.published import Published, published_as, published_sets

SHEET = (Path(__file__).parents[2] / "docs" / "data_sets.md").read_text()


@pytest.mark.parametrize("one", published_sets(), ids=lambda one: one.title)
def test_the_sheet_says_what_the_ledger_says(one: Published) -> None:
    (row,) = (line for line in SHEET.splitlines() if line.startswith(f"| [{one.title}]({one.home}) |"))
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    found = {"publisher": "the publisher", "others": "others", "unconfirmed": "unconfirmed", "nowhere": "–"}[one.found]
    assert cells[1:5] == [", ".join(one.read_as), one.licence, found, one.pictures]
    assert (one.found == "nowhere") == (one.licence == "not stated")
    for name, counts in one.files.items():
        assert f"`{name}`" in cells[5] and set(counts) <= {"examples", "notes"}
        assert all(f"{count:,}" in cells[5] for count in counts.values())
        assert all(published_as(kind, [Path("downloads", name)]) == (one, counts) for kind in one.read_as)
    assert set(one.read_as) <= set(SOURCES)


def test_a_file_is_known_by_its_name_and_its_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, counts = published_as("refcoco", ["data/refcoco+/refs(unc).p", "instances.json"])
    assert (found.title, counts["notes"]) == ("RefCOCO+", 141564)
    assert found.terms == "annotations: Apache 2.0 (as others say); pictures: COCO train2014: Flickr's terms, by picture"
    assert published_as("refcoco", ["refs(unc).p"]) is None, "which of the three it is cannot be told"
    (tmp_path / "refcocog").mkdir()
    monkeypatch.chdir(tmp_path / "refcocog")
    assert published_as("refcoco", ["refs(umd).p"])[0].title == "RefCOCOg (UMD's split)", "the folder that one is in tells"
    assert published_as("coco-captions", ["refcoco+/refs(unc).p"]) is None
    assert published_as("coco", ["my_instances_val2017.json"]) is None and published_as("coco", []) is None
