"""Laws fitted to finished runs."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy loads: ten times as fast
