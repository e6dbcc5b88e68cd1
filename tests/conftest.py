"""What all tests share: an environment, seeds, a backend that is wrong.

Kernels run under Triton's interpreter here, unless there is a GPU. Triton decorates its own library when it is first imported, so
the variable has to be set before that; kernels are compiled for other targets in processes of their own, which do not see it.
"""

import itertools
import os
import sys
from collections.abc import Iterator

import pytest
import torch

os.environ.setdefault("ATTNCC_PLANS", "off")  # tests change the compiler under way: nothing that they make may reach another run

if not torch.cuda.is_available() and "triton" not in sys.modules:
    os.environ["TRITON_INTERPRET"] = "1"

_count = itertools.count()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that take minutes run when they are asked for: `-m slow`."""
    if "slow" not in (config.getoption("-m") or ""):
        for item in items:
            if item.get_closest_marker("slow") is not None:
                item.add_marker(pytest.mark.skip(reason="takes minutes: -m slow"))


@pytest.fixture(autouse=True)
def same_numbers_again() -> None:
    """Tests that draw tensors draw the same ones on every run."""
    torch.manual_seed(0)


@pytest.fixture
def wrong_backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a backend whose results are wrong; a new one each time, because operators are kept by backend name."""
    from wrong import Point, Wrong

    from attncc.runtime import backends

    name = f"wrong{next(_count)}"
    points = {**backends.installed(), name: Point(Wrong(name))}
    monkeypatch.setattr(backends, "installed", lambda: points)
    backends.named.cache_clear()
    yield name
    backends.named.cache_clear()
