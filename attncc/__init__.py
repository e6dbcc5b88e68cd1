"""attncc: a compiler for attention operators."""

from pathlib import Path as _Path
from time import time_ns as _time_ns
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

_imported = _time_ns()
"""When this process began to read the compiler's files."""

# In a source checkout the sub-packages grammar, backends and patterns live beside this folder; a wheel holds them inside it.
_root = _Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").exists() and (_root / "patterns").is_dir() and str(_root) not in __path__:
    __path__.append(str(_root))

__version__ = "0.1.0"

_EXPORTS = {
    "runtime.op": ("compile", "load", "patterns", "Op"),
    "runtime.jit": ("jit",),
    "runtime.words": ("axes", "size", "attend", "keys", "emitted", "otherwise", "require"),
    "errors": (
        "AttnError", "AttnSyntaxError", "AttnNameError", "AttnTypeError", "AttnAbsentError", "AttnShapeError", "AttnValueError",
        "AttnUnsupportedError", "AttnInternalError",
    ),
}  # fmt: skip
_HOME = {name: module for module, names in _EXPORTS.items() for name in names}

if _TYPE_CHECKING:
    from .errors import (
        AttnAbsentError as AttnAbsentError,
    )
    from .errors import (
        AttnError as AttnError,
    )
    from .errors import (
        AttnInternalError as AttnInternalError,
    )
    from .errors import (
        AttnNameError as AttnNameError,
    )
    from .errors import (
        AttnShapeError as AttnShapeError,
    )
    from .errors import (
        AttnSyntaxError as AttnSyntaxError,
    )
    from .errors import (
        AttnTypeError as AttnTypeError,
    )
    from .errors import (
        AttnUnsupportedError as AttnUnsupportedError,
    )
    from .errors import (
        AttnValueError as AttnValueError,
    )
    from .runtime.jit import jit as jit
    from .runtime.op import Op as Op
    from .runtime.op import compile as compile
    from .runtime.op import load as load
    from .runtime.op import patterns as patterns
    from .runtime.words import attend as attend
    from .runtime.words import axes as axes
    from .runtime.words import emitted as emitted
    from .runtime.words import keys as keys
    from .runtime.words import otherwise as otherwise
    from .runtime.words import require as require
    from .runtime.words import size as size


def __getattr__(name: str) -> _Any:
    """Public names are loaded at first use, so that importing attncc stays light."""
    if name in _HOME:
        from importlib import import_module

        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    if name in ("testing", "cache", "errors", "kept"):
        from importlib import import_module

        return import_module(f".{name}", __name__)
    if not name.startswith("_"):  # functions of the language, for traced Python: attncc.dot, attncc.softmax, attncc.rope
        from .runtime import library, words

        if library.known(name):
            return words.function(name)
    raise AttributeError(f"module 'attncc' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME, "testing"])
