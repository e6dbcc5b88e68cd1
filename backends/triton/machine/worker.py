"""The process that compiles for `isolated.py`: one request a line on standard input, one answer a line on its output.

The first answer says that Triton is imported, so that the time limit of a request is the compiler's alone. The compiler
prints where it likes, so the answers go to a copy of the output and the output itself to standard error.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
from typing import TextIO

from attncc.backends.triton.machine.compile import Json, Request, compile_request

from attncc.errors import AttnError


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with contextlib.suppress(ImportError):  # without Triton each request is refused
        importlib.import_module("triton")
    _send(answers, {"ready": True})
    for line in sys.stdin:
        request = Request.from_json(json.loads(line))
        answer: Json
        try:
            answer = {"compiled": compile_request(request).to_json(binary=True)}
        except AttnError as error:
            answer = {"failed": error.message}
        except Exception as error:  # an import error in the kernel's module, for one
            answer = {"failed": f"{type(error).__name__}: {error}"}
        _send(answers, answer)


def _send(answers: TextIO, answer: Json) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
