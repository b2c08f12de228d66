"""What holds for every test."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A busy machine is no failure: how long one example takes is not tested, only that a whole test ends in its time.
settings.register_profile("openline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("openline")
