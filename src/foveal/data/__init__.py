"""Pictures and what is said of them, from files, from drawing programs, in batches."""

from foveal.data.images import ImageError, load_image

__all__ = ["ImageError", "load_image"]
