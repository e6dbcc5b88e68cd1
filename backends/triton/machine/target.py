"""Names of compilation targets: `cuda:90`, `hip:gfx942`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from attncc.errors import AttnValueError


@dataclass(frozen=True, slots=True)
class Target:
    """A GPU to compile for. `arch` is the compute capability times ten (`"90"`) or the gfx name."""

    backend: str
    arch: str
    warp_size: int

    @property
    def name(self) -> str:
        return f"{self.backend}:{self.arch}"

    def gpu(self) -> Any:
        """The same as Triton's `GPUTarget`."""
        from triton.backends.compiler import GPUTarget

        return GPUTarget(self.backend, int(self.arch) if self.backend == "cuda" else self.arch, self.warp_size)

    def __str__(self) -> str:
        return self.name


def parse_target(text: str) -> Target:
    """`cuda:<compute capability times ten>` or `hip:gfx<number>`.

    Raises `AttnValueError` for any other text.
    """
    if cuda := re.fullmatch(r"cuda:(\d{2,3})a?", text):
        return Target("cuda", cuda[1], 32)
    if hip := re.fullmatch(r"hip:(gfx[0-9a-f]+)", text):
        return Target("hip", hip[1], 64 if hip[1].startswith("gfx9") else 32)
    raise AttnValueError(
        f"'{text}' is no target: expected cuda:<compute capability times ten> or hip:gfx<number>",
        help="for example cuda:80 (A100), cuda:90 (H100, H200), cuda:100 (B200) or hip:gfx942 (MI300X)",
    )
