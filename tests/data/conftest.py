"""What tests of data share: a site of pictures."""

from collections.abc import Iterator

import pytest
from picture_site import Site


@pytest.fixture
def site() -> Iterator[Site]:
    """A site that answers with a picture."""
    made = Site()
    yield made
    made.server.shutdown()
    made.server.server_close()
