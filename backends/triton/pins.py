"""Configurations that are pinned: measured once on a device, written to a file, and used for the same kernels from then on.

The file travels with a model. It is JSON:

    {"format": 1, "attncc": "<version>", "triton": "3.9", "target": "cuda:90", "device": "NVIDIA H200",
     "kernels": [{"kernel": "core", "digest": "<of the tile program>", "features": {"d": 64}, "bits": 16, "described": true,
                  "config": {"owner": 128, "loop": 128, "warps": 8, "stages": 2}, "ms": 0.41, "sizes": {"i": 4096}}]}

`digest` says which kernel a configuration is for, so a file may hold those of several patterns and a changed pattern is not
served by an old one. Files are named by ATTNCC_PINNED (several apart by the system's path separator), `op.pin(path)` and
`attncc compile --pin`. A file of another format, Triton or device is refused, and so are tiles that a kernel cannot have.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attncc import __version__
from attncc.errors import AttnUnsupportedError, AttnValueError
from attncc.tile.nodes import Program
from attncc.tile.show import show

from .chosen import installed
from .configs import Config
from .space import Setting, floor_registers, shared_bytes
from .traits import traits

FORMAT = 1
Key = tuple[str, tuple[tuple[str, int], ...], int, bool]


@dataclass(frozen=True)
class Pin:
    """One kernel's configuration, and how it was measured. sizes: of the axes then."""

    kernel: str
    key: Key
    config: Config
    ms: float | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        digest, features, bits, described = self.key
        return {
            "kernel": self.kernel, "digest": digest, "features": dict(features), "bits": bits, "described": described,
            "config": self.config.to_json(), "ms": self.ms, "sizes": dict(self.sizes),
        }  # fmt: skip


@dataclass(frozen=True)
class Pins:
    """The contents of a file."""

    target: str
    device: str
    triton: str
    pins: tuple[Pin, ...]
    path: str = ""


def key_of(program: Program, features: Mapping[str, int], setting: Setting) -> Key:
    """What a configuration is pinned for: a tile program, its head dimensions, the element size, descriptors or not."""
    digest = hashlib.sha256(show(program).encode()).hexdigest()[:24]
    return digest, tuple(sorted(features.items())), setting.bits, setting.describes


def write(path: Path, target: str, device: str, pins: Iterable[Pin]) -> None:
    """Write a file; kernels that it already holds for the same target and Triton stay."""
    rows = {p.key: p for p in pins}
    if path.exists():
        old = read(path)
        if (old.target, old.device, old.triton) == (target, device, installed()):
            rows = {p.key: p for p in old.pins} | rows
    data = {
        "format": FORMAT, "attncc": __version__, "triton": installed(), "target": target, "device": device,
        "kernels": [p.to_json() for p in sorted(rows.values(), key=lambda p: (p.kernel, p.key))],
    }  # fmt: skip
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> Pins:
    """A file. Raises AttnValueError for one that is none or that is damaged."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AttnValueError(f"cannot read pinned configurations from '{path}': {error.strerror or error}") from None
    except ValueError:
        raise AttnValueError(f"'{path}' is no file of pinned configurations: not JSON", None, _MAKE) from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        found = data.get("format") if isinstance(data, dict) else type(data).__name__
        raise AttnValueError(f"'{path}' has format {found!r}, expected {FORMAT}", None, _MAKE)
    try:
        pins = tuple(
            Pin(
                str(k["kernel"]),
                (str(k["digest"]), tuple(sorted((str(a), int(n)) for a, n in k["features"].items())), int(k["bits"]), bool(k["described"])),
                Config.from_json(k["config"]),
                k.get("ms"),
                dict(k.get("sizes", {})),
            )
            for k in data["kernels"]
        )
        return Pins(str(data["target"]), str(data["device"]), str(data["triton"]), pins, str(path))
    except (KeyError, TypeError, AttributeError) as error:
        raise AttnValueError(f"'{path}' is damaged: {type(error).__name__} {error}", None, _MAKE) from None


_MAKE = "op.tune(..., path=...) and `attncc compile --autotune --pin FILE` write one"


class Registry:
    """The pinned configurations of this process. stamp: changes whenever one is added."""

    def __init__(self) -> None:
        self._files: dict[str, Pins] = {}
        self._rows: dict[tuple[str, Key], tuple[Config, Pins]] = {}
        self._named: str | None = None
        self.stamp = 0

    def add(self, pins: Pins) -> None:
        """Use these from now on; later ones win."""
        self._files[pins.path or f"#{len(self._files)}"] = pins
        self._rows |= {(pins.target, p.key): (p.config, pins) for p in pins.pins}
        self.stamp += 1

    def clear(self) -> None:
        """Forget all of them, and read ATTNCC_PINNED again."""
        self._files, self._rows, self._named = {}, {}, None
        self.stamp += 1

    def filled(self) -> bool:
        """Whether anything is pinned."""
        self._read_named()
        return bool(self._files)

    def find(self, program: Program, features: Mapping[str, int], setting: Setting) -> Config | None:
        """The configuration that is pinned for a kernel. Raises AttnUnsupportedError when a file does not fit this device or
        Triton, AttnValueError when its tiles do not fit the kernel."""
        self._read_named()
        if not self._files:
            return None
        for pins in self._files.values():
            self._fits(pins, setting)
        found = self._rows.get((setting.target, key_of(program, features, setting)))
        if found is None:
            return None
        config, pins = found
        self._tiles(program, features, setting, config, pins)
        return config

    def _read_named(self) -> None:
        named = os.environ.get("ATTNCC_PINNED", "")
        if named != self._named:
            self._named = named
            for path in filter(None, named.split(os.pathsep)):
                self.add(read(Path(path)))

    def _fits(self, pins: Pins, setting: Setting) -> None:
        where = f"the pinned configurations of '{pins.path}'" if pins.path else "the pinned configurations"
        if setting.target == "interpreter" or pins.target == "interpreter":
            return
        if pins.target != setting.target:
            raise AttnUnsupportedError(
                f"{where} were measured for {pins.target} ({pins.device}), this is {setting.target}",
                None,
                "tune again on this device, or leave the file out",
            )
        if installed() and pins.triton != installed():
            raise AttnUnsupportedError(
                f"{where} were measured with Triton {pins.triton}, this is {installed()}", None, "tune again, or leave the file out"
            )

    def _tiles(self, program: Program, features: Mapping[str, int], setting: Setting, config: Config, pins: Pins) -> None:
        of = traits(program, dict(features))
        if of is None or setting.target == "interpreter":
            return
        units = setting.units
        shared, registers = shared_bytes(of, config, setting), floor_registers(of, config, setting)
        if shared > units.shared_per_program or registers > 2 * units.registers_per_thread:
            what = f"{shared / 1024:.0f} KiB of shared memory" if shared > units.shared_per_program else f"{registers:.0f} registers"
            raise AttnValueError(
                f"the tiles pinned for '{program.name}' in '{pins.path}', {config}, do not fit {setting.target}: they take {what}",
                None,
                "tune again, or leave the file out",
            )


REGISTRY = Registry()
