"""The shipped patterns, one `.attn` file each; `attncc.patterns()` lists them.

The folder and the function have one name, so this module can be called: importing the folder must not hide the function.
"""

import sys
from types import ModuleType
from typing import Any


class _Patterns(ModuleType):
    def __call__(self) -> Any:
        """Names, titles and citations of all shipped patterns."""
        from attncc.runtime.op import patterns

        return patterns()


sys.modules[__name__].__class__ = _Patterns
