"""When memory runs out: how that is told, and what is given back."""

import gc

import torch

__all__ = ["free_memory", "is_short_of_memory"]


def is_short_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: Python's, CUDA's, or that of PyTorch on a CPU.

    >>> is_short_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."))
    True
    """
    said = str(error)
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in said or "can't allocate memory" in said)
    )


def free_memory() -> None:
    """Gives back what nobody holds any more, on a GPU too."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
