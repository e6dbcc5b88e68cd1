"""Tests of this folder are about the eager backend, whatever the default for a device is."""

import pytest

from attncc.runtime import backends


@pytest.fixture(autouse=True)
def eager_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "BY_DEVICE", dict.fromkeys(backends.BY_DEVICE, ("eager",)))
