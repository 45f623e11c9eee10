"""`python -m clusterimg`."""

from __future__ import annotations

import gc
import os
import sys

# Before NumPy is imported: no matrices are multiplied here, and starting OpenBLAS threads takes a while.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__all__ = ["main"]


def main() -> int:
    """Run the command of this process and return its exit code."""
    try:
        from . import cli

        code = cli.main()
    except KeyboardInterrupt:  # before the command has begun, or while it says that it was interrupted
        return 130
    gc.freeze()  # at its exit Python need not look for garbage in what is left
    return code


if __name__ == "__main__":
    sys.exit(main())
