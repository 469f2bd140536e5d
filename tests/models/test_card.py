"""Laws of the cards of converted models: the licence is the weights' own."""

from pathlib import Path

import pytest
from huggingface_hub.repocard import metadata_load

from foveal.models.card import Part, find_licence, stated_licence, write_card


def write(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name.replace("_md", ".md")).write_text(text)
    return folder


def test_a_licence_is_found_in_the_head_or_in_the_text(tmp_path: Path) -> None:
    named = find_licence(write(tmp_path / "a", README_md="---\nlicense: cc-by-nc-4.0\n---\nWords.", LICENSE="CC\n"))
    assert named is not None and (named.name, named.is_identifier, [file.name for file in named.texts]) == ("cc-by-nc-4.0", True, ["LICENSE"])
    other = find_licence(write(tmp_path / "b", README_md="---\nlicense: other\nlicense_name: amlr\nlicense_link: LICENSE\n---\n"))
    assert other is not None and (other.name, other.link, other.is_identifier) == ("amlr", "LICENSE", False)
    text = find_licence(write(tmp_path / "c", LICENCE="\n  # For research only\nAnd so on."))
    assert text is not None and text.name == "For research only"


def test_no_licence_is_made_up(tmp_path: Path) -> None:
    assert find_licence(write(tmp_path / "a", README_md="# Weights\nNo word about it.")) is None
    assert find_licence(write(tmp_path / "b", README_md="---\nlicense: other\n---\n")) is None
    assert find_licence(tmp_path / "nowhere") is None
    with pytest.raises(ValueError, match="cannot be read"):
        find_licence(write(tmp_path / "c", README_md="---\n- a\n- b: [\n---\n"))
    with pytest.raises(ValueError, match="empty licence"):
        stated_licence(" ")


def test_the_card_names_source_and_licence_of_every_part(tmp_path: Path) -> None:
    first = write(tmp_path / "first", LICENSE="Some research licence\n\nFor research only.", USE_POLICY_md="Be good.")
    second = write(tmp_path / "second", README_md="---\nlicense: mit\n---\n", NOTICE="Somebody")
    third = write(tmp_path / "third")
    out = write(tmp_path / "out")
    write_card(out, "Weights", "Words.", [Part(folder.name, folder.name, find_licence(folder)) for folder in (first, second, third)])
    head, text = metadata_load(out / "README.md"), (out / "README.md").read_text()
    assert head is not None and (head["license"], head["license_name"]) == ("other", "Some research licence")
    assert "apache" not in text.lower() and "| second | second | mit" in text and "| third | third | not stated" in text
    assert sorted(file.name for file in out.iterdir()) == ["LICENSE", "README.md", "USE_POLICY.md", "second.NOTICE"]


def test_a_stated_licence_is_a_name_a_sentence_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "terms.txt").write_text("Terms of use\n")
    out = write(tmp_path / "out")
    write_card(out, "Weights", "", [Part("weights", "somewhere", stated_licence(str(tmp_path / "terms.txt")))])
    assert (out / "LICENSE.terms.txt").read_text() == "Terms of use\n"
    assert "Terms of use" in (out / "README.md").read_text()
    assert stated_licence("Research  only, ask\nfirst.").name == "Research only, ask first."
    assert stated_licence("x" * 5000).name == "x" * 5000
