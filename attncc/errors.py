"""Every error attncc raises on purpose, each with a place in the source, what was expected and how to fix it.

A `Source` is a text with a name; a `Span` is a piece of it. `AttnError.__str__` renders

    neighborhood2d.attn:4:18: unknown name 'kk'
        score      dot(q, kk') / sqrt(d)
                          ^^^
    help: did you mean 'k'?
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Source:
    """A text that can be pointed into: an `.attn` file, a string, or the Python file of a traced function."""

    name: str
    text: str = field(repr=False)

    def position(self, offset: int) -> tuple[int, int]:
        """1-based (line, column) of a character offset."""
        offset = min(offset, len(self.text))
        line = self.text.count("\n", 0, offset) + 1
        return line, offset - (self.text.rfind("\n", 0, offset) + 1) + 1

    def line(self, number: int) -> str:
        """The text of a 1-based line, without its newline."""
        lines = self.text.split("\n")
        return lines[number - 1] if 0 < number <= len(lines) else ""


@dataclass(frozen=True, slots=True)
class Span:
    """The characters `start` (included) to `end` (excluded) of a source."""

    source: Source
    start: int
    end: int

    @property
    def line(self) -> int:
        return self.source.position(self.start)[0]

    @property
    def column(self) -> int:
        return self.source.position(self.start)[1]

    def to(self, other: Span) -> Span:
        """The span from the start of this one to the end of the other."""
        return Span(self.source, self.start, max(self.end, other.end))

    @property
    def text(self) -> str:
        """The characters themselves, blanks folded."""
        return " ".join(self.source.text[self.start : self.end].split())

    def caret(self) -> str:
        """The source line with carets below the span."""
        line, column = self.source.position(self.start)
        text = self.source.line(line).replace("\t", " ")
        width = max(1, min(self.end - self.start, len(text) - column + 1))
        return f"    {text}\n    {' ' * (column - 1)}{'^' * width}"

    def __repr__(self) -> str:
        return f"{self.source.name}:{self.line}:{self.column}"


class AttnError(Exception):
    """Base of every error about a pattern or a call of one.

    Attributes: `message`; `span` (None when no source position applies); `help` (how to fix it, may be empty);
    `file`, `line`, `column` (from the span, None without one).
    """

    def __init__(self, message: str, span: Span | None = None, help: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.span = span
        self.help = help

    @property
    def file(self) -> str | None:
        return self.span.source.name if self.span else None

    @property
    def line(self) -> int | None:
        return self.span.line if self.span else None

    @property
    def column(self) -> int | None:
        return self.span.column if self.span else None

    def __str__(self) -> str:
        text = self.message
        if self.span is not None:
            text = f"{self.file}:{self.line}:{self.column}: {self.message}\n{self.span.caret()}"
        return f"{text}\nhelp: {self.help}" if self.help else text


class AttnSyntaxError(AttnError):
    """The text does not parse."""


class AttnNameError(AttnError):
    """A name is not defined, is defined twice, or names the wrong kind of thing."""


class AttnTypeError(AttnError):
    """A value has the wrong kind (axis, tensor, parameter, float, int, bool) or the wrong axes."""


class AttnAbsentError(AttnTypeError):
    """Something that may be left out was left out, and is needed after all."""


class AttnShapeError(AttnError):
    """Tensor shapes do not fit the signature, or a `require` does not hold."""


class AttnValueError(AttnError):
    """A parameter has a value outside its type or a `require`, or data breaks an `assume`."""


class AttnUnsupportedError(AttnError):
    """A legal program that this version cannot compile for the asked target; the message names the limit."""


class AttnInternalError(AttnError):
    """A verifier found an IR that breaks its own rules: a defect of attncc, please report it."""
