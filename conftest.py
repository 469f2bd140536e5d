"""What all tests share and pyproject.toml cannot say."""

from hypothesis import settings

# A deadline measures how busy the machine is, not whether a law holds.
settings.register_profile("house", deadline=None)
settings.load_profile("house")
