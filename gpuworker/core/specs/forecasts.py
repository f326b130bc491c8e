"""For how many samples it is foretold what a model takes: one by itself, and a batch."""

from __future__ import annotations

FORECAST_BATCH = 32
