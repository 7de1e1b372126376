"""Consumes the lanes: validates teachers, ranks zoos, distils students. The only room that imports torch."""

import os

# onnxruntime's packages send what they run (hashes and names of models among it) to their makers, from 1.29 on, and
# keep a database of it in the home folder. Nothing of a user's leaves a worker: off, unless the operator says 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
