"""`python -m clusterimg`."""

from __future__ import annotations

import os
import sys

# Before NumPy is imported: no matrices are multiplied here, and starting OpenBLAS threads takes a while.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
