"""Where the recordings of the reference code lie: FOVEAL_PARITY, or the folder shared beside the repository."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def parity() -> Path:
    """The folder with `ferret/`; a test that misses a file in a folder that was asked for fails, one without any folder is skipped."""
    asked = os.environ.get("FOVEAL_PARITY")
    folder = Path(asked) if asked else Path(__file__).parents[3] / "shared" / "parity"
    if not folder.is_dir():
        if asked:
            pytest.fail(f"FOVEAL_PARITY is {asked}, which is no folder")
        pytest.skip(f"no recordings at {folder}; set FOVEAL_PARITY to their folder")
    return folder


@pytest.fixture(scope="session")
def monkey_folder(parity: Path) -> Path:
    """Monkey's recordings."""
    return parity / "monkey"
