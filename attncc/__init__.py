"""attncc: a compiler for attention operators."""

from pathlib import Path as _Path

# In a source checkout the sub-packages grammar, backends and patterns live beside this folder; a wheel holds them inside it.
_root = _Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").exists() and (_root / "patterns").is_dir() and str(_root) not in __path__:
    __path__.append(str(_root))

__version__ = "0.1.0"

_EXPORTS = {
    "compile": "runtime.op", "load": "runtime.op", "patterns": "runtime.op", "Op": "runtime.op",
    **{name: "runtime.jit" for name in ("jit", "axes", "size", "attend", "emitted", "require")},
    **{name: "errors" for name in (
        "AttnError", "AttnSyntaxError", "AttnNameError", "AttnTypeError", "AttnAbsentError", "AttnShapeError", "AttnValueError",
        "AttnUnsupportedError", "AttnInternalError",
    )},
}  # fmt: skip


def __getattr__(name: str) -> object:
    """Public names are loaded at first use, so that importing attncc stays light."""
    if name in _EXPORTS:
        from importlib import import_module

        return getattr(import_module(f".{_EXPORTS[name]}", __name__), name)
    if name in ("testing", "cache", "errors"):
        from importlib import import_module

        return import_module(f".{name}", __name__)
    if not name.startswith("_"):  # functions of the language, for traced Python: attncc.dot, attncc.softmax, attncc.rope
        from .runtime import jit as tracing

        if tracing.known(name):
            return tracing.function(name)
    raise AttributeError(f"module 'attncc' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS, "testing"])
