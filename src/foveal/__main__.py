"""`python -m foveal`: the command line."""

import sys

from foveal.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())
