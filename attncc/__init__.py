"""attncc: a compiler for attention operators."""

from pathlib import Path as _Path

# In a source checkout the sub-packages grammar, backends and patterns live beside this folder; a wheel holds them inside it.
_root = _Path(__file__).resolve().parent.parent
if (_root / "pyproject.toml").exists() and (_root / "patterns").is_dir() and str(_root) not in __path__:
    __path__.append(str(_root))

__version__ = "0.1.0"
