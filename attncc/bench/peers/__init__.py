"""What attncc is compared with: one row of `PEERS` each."""

from .base import Absent, Peer, Setting
from .chunked import PEERS as _CHUNKED
from .flex import PEERS as _FLEX
from .own import PEERS as _OWN
from .plain import PEERS as _PLAIN
from .sdpa import PEERS as _SDPA

PEERS: dict[str, Peer] = {**_OWN, **_SDPA, **_FLEX, **_PLAIN, **_CHUNKED}

__all__ = ["PEERS", "Absent", "Peer", "Setting"]
