"""A folder is one run's at a time, and nobody's when its run has ended, however it did."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

import foveal.data.whole
from foveal.data.whole import alone_in

_AT_WORK = """
import sys, time
from pathlib import Path
from foveal.data.whole import alone_in
with alone_in(Path(sys.argv[1])):
    print("at work", flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_told_of_the_first_until_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "runs"
    with subprocess.Popen([sys.executable, "-c", _AT_WORK, str(place)], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "at work\n"
        monkeypatch.setattr(foveal.data.whole, "_PATIENCE", 0.1)
        with pytest.raises(ValueError, match=rf"^another run is at work in {place}; wait for its end, or give another folder\.$"), alone_in(place):
            pass
        with alone_in(tmp_path / "other"):
            pass
        monkeypatch.setenv("RANK", "1")
        with alone_in(place):
            pass  # the first process of the same run keeps it
        monkeypatch.delenv("RANK")
        first.kill()
    monkeypatch.undo()
    with alone_in(place):
        pass


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_where_there_are_no_locks_a_run_does_without(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def flock(*given: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    with alone_in(tmp_path / "one"):
        pass
    monkeypatch.setattr(fcntl, "flock", lambda *given: (_ for _ in ()).throw(OSError(errno.EIO, "a broken disk")))
    with pytest.raises(OSError, match="a broken disk"), alone_in(tmp_path / "two"):
        pass


def test_what_is_kept_may_be_kept_within_and_stays_kept(tmp_path: Path) -> None:
    other = "import sys, pathlib, foveal.data.whole as whole\nwhole._PATIENCE = 0.1\nwith whole.alone_in(pathlib.Path(sys.argv[1])): print('in')"

    def asked_from_outside() -> str:
        said = subprocess.run([sys.executable, "-c", other, str(tmp_path)], capture_output=True, text=True)
        return said.stdout or said.stderr.splitlines()[-1]

    with alone_in(tmp_path):
        with alone_in(tmp_path):
            assert "another run is at work" in asked_from_outside()
        assert "another run is at work" in asked_from_outside(), "the inner one has let go of its own alone"
    assert asked_from_outside() == "in\n"


def test_a_run_that_fails_lets_go(tmp_path: Path) -> None:
    with pytest.raises(KeyError), alone_in(tmp_path):
        raise KeyError("of its own")
    with alone_in(tmp_path):
        pass
