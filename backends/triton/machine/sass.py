"""Reads what nvdisasm prints for a cubin: instructions with their class, work, and jumps."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from attncc.backends.triton.machine.instructions import Function, Instruction, Kind, MatrixOp, Scope
from attncc.backends.triton.machine.opcodes import kind_of

_SECTION = re.compile(r"^\.text\.(\S+):")
_LABEL = re.compile(r"^\s*([.$\w]+):\s*$")
_LINE = re.compile(r"^\s*/\*([0-9a-f]{4,})\*/\s+\{?\s*(?:(@!?U?P\w+)\s+)?([A-Z][\w.]*)\s*(.*?)\s*;")
_TARGET = re.compile(r"`\(([.$\w]+)\)")
_NAMED = re.compile(r"\.L_\w+")
_BITS = {"E4M3": 8, "E5M2": 8, "E3M2": 8, "E2M3": 8, "E2M1": 4, "S8": 8, "U8": 8, "S4": 4, "BF16": 16, "TF32": 32, "F64": 64}
_DTYPES = {
    "E4M3": "fp8", "E5M2": "fp8", "E3M2": "fp6", "E2M3": "fp6", "E2M1": "fp4", "S8": "int8", "U8": "int8", "S4": "int4",
    "BF16": "bf16", "TF32": "tf32", "F64": "fp64",
}  # fmt: skip
_UNCONDITIONAL = {"BRA", "JMP", "EXIT", "RET", "BRX", "BRXU", "JMX", "JMXU", "KILL"}
_INDIRECT = {"BRX", "BRXU", "JMX", "JMXU"}
_NEVER = {"@!PT", "@!UPT"}
_POLLS = {"TRYWAIT", "TRY_ALLOC", "FIND_AND_SET"}  # the tests in loops that wait for a barrier, registers, tensor memory


def parse(text: str) -> tuple[Function, ...]:
    """The functions of a disassembly (`nvdisasm -c`), one per code section, in file order.

    Device functions called within a section are further roots of the kernel that holds them.
    """
    functions: list[Function] = []
    name = ""
    lines: list[tuple[int, str, str, str]] = []
    labels: dict[str, int] = {}
    pending: list[str] = []

    def flush() -> None:
        if lines:
            functions.append(_function(name, lines, labels))

    for line in text.splitlines():
        if section := _SECTION.match(line):
            flush()
            name, lines, labels, pending = section[1], [], {}, []
        elif label := _LABEL.match(line):
            pending.append(label[1])
        elif match := _LINE.match(line):
            address = int(match[1], 16)
            for label_name in pending:
                labels[label_name] = address
            pending = []
            lines.append((address, match[2] or "", match[3], match[4]))
    flush()
    return tuple(functions)


def _function(name: str, lines: list[tuple[int, str, str, str]], labels: dict[str, int]) -> Function:
    instructions = [_instruction(*line, labels) for line in lines]
    called = [labels[n] for _, _, op, rest in lines if op.startswith("CALL") for n in _TARGET.findall(rest) if n in labels]
    named = {target for i in instructions for target in i.jumps}
    indirect = any(i.root in _INDIRECT and not i.jumps for i in instructions)
    if indirect:  # any label that nothing else names may be a target
        unnamed = tuple(sorted(set(labels.values()) - named - set(called) - {lines[0][0]}))
        instructions = [replace(i, jumps=unnamed) if i.root in _INDIRECT and not i.jumps else i for i in instructions]
    instructions = _converge(instructions, lines, labels)
    instructions = [_with_descriptor(i, k, instructions) for k, i in enumerate(instructions)]
    return Function(name, tuple(instructions), tuple(dict.fromkeys([lines[0][0], *called])), indirect)


def _instruction(address: int, predicate: str, opcode: str, rest: str, labels: dict[str, int]) -> Instruction:
    root, *modifiers = opcode.split(".")
    operands = _operands(rest)
    kind = kind_of(root)
    jumps: tuple[int, ...] = ()
    falls = True
    if kind is Kind.BRANCH or root == "WARPSYNC":
        jumps, falls = _flow(root, predicate, opcode, rest, operands, labels)
    return Instruction(
        address=address,
        opcode=opcode,
        operands=operands,
        predicate=predicate,
        kind=kind,
        bytes=_bytes(kind, root, modifiers),
        matrix=_matrix(root, modifiers, operands) if kind is Kind.MATRIX else None,
        jumps=jumps,
        falls=falls,
        polls=root == "NANOSLEEP" or not _POLLS.isdisjoint(modifiers),
    )


def _operands(rest: str) -> tuple[str, ...]:
    parts: list[str] = []
    depth = 0
    word = ""
    for c in rest:
        depth += (c in "[({") - (c in "])}")
        if c == "," and depth == 0:
            parts.append(word.strip())
            word = ""
        else:
            word += c
    return (*parts, word.strip()) if word.strip() else tuple(parts)


def _flow(
    root: str, predicate: str, opcode: str, rest: str, operands: tuple[str, ...], labels: dict[str, int]
) -> tuple[tuple[int, ...], bool]:
    """Where a branch goes, and whether the next instruction may follow."""
    if predicate in _NEVER or root in {"CALL", "BSSY", "BSYNC", "BREAK", "BMOV", "YIELD", "BPT"}:
        return (), True  # a call comes back; BSYNC is completed by `_converge`
    names = _NAMED.findall(rest) if root in _INDIRECT else _TARGET.findall(rest)
    jumps = tuple(dict.fromkeys(labels[n] for n in names if n in labels))
    # A condition is a predicate before the opcode or a register among the operands (BRA.U !UP0, BRA.DIV UR4, BRA P0).
    condition = bool(predicate) or (root in {"BRA", "JMP"} and any(_is_condition(o) for o in operands)) or ".DIV" in opcode
    return jumps, root not in _UNCONDITIONAL or condition


def _is_condition(operand: str) -> bool:
    return re.fullmatch(r"!?U?P\d|~?U?R\d+", operand) is not None


def _converge(
    instructions: list[Instruction], lines: list[tuple[int, str, str, str]], labels: dict[str, int]
) -> list[Instruction]:
    """Gives BSYNC its jump: to the label of the BSSY of the same barrier, unless that is the next instruction anyway."""
    targets: dict[str, set[int]] = {}
    for _, _, opcode, rest in lines:
        if opcode.startswith("BSSY"):
            barrier = _operands(rest)[0]
            targets.setdefault(barrier, set()).update(labels[n] for n in _TARGET.findall(rest) if n in labels)
    done: list[Instruction] = []
    following: Iterable[int] = [*(i.address for i in instructions[1:]), -1]
    for instruction, after in zip(instructions, following, strict=True):
        if instruction.root == "BSYNC" and instruction.operands:
            to = targets.get(instruction.operands[0], set())
            if to and after not in to:
                instruction = replace(instruction, jumps=tuple(sorted(to)), falls=bool(instruction.predicate))
        done.append(instruction)
    return done


def _bytes(kind: Kind, root: str, modifiers: list[str]) -> int:
    """Bytes that one lane moves."""
    if root in {"LDSM", "STSM"}:  # 8 x 8 matrices of 16-bit numbers, 128 bytes each, by the warp
        return 4 * next((int(m) for m in reversed(modifiers) if m in {"1", "2", "4"}), 1)
    if kind is Kind.TENSOR_MEMORY:
        return 4 * next((int(m[1:]) for m in modifiers if re.fullmatch(r"x\d+", m)), 1) if root in {"LDTM", "STTM"} else 0
    memory = {
        Kind.SHARED_LOAD, Kind.SHARED_STORE, Kind.GLOBAL_LOAD, Kind.GLOBAL_STORE, Kind.ASYNC_COPY, Kind.ATOMIC, Kind.LOCAL_LOAD,
        Kind.LOCAL_STORE, Kind.CONSTANT,
    }  # fmt: skip
    if kind not in memory:
        return 0
    for m in modifiers:
        if m in {"64", "128", "256"}:
            return int(m) // 8
        if m in {"U8", "S8"}:
            return 1
        if m in {"U16", "S16"}:
            return 2
    return 4


def _matrix(root: str, modifiers: list[str], operands: tuple[str, ...]) -> MatrixOp | None:
    """Shape and type from the opcode: HMMA.16816.F32.BF16, HGMMA.64x128x16.F32.BF16. None for UTC*MMA (see below)."""
    types = [m for m in modifiers if m in _DTYPES]
    dtype = _DTYPES[types[-1]] if types else "fp16"
    bits = _BITS[types[-1]] if types else 16
    if root == "DMMA":
        dtype, bits = "fp64", 64
    for m in modifiers:
        if wide := re.fullmatch(r"(\d+)x(\d+)x(\d+)", m):
            rows, columns, depth = (int(g) for g in wide.groups())
            # B always comes from shared memory; A does when the first source is a descriptor, and then shares it with B.
            first = operands[1] if len(operands) > 1 else ""
            size = columns * depth + (rows * depth if first.startswith("gdesc") else 0)
            return MatrixOp(rows, columns, depth, dtype, Scope.GROUP, size * bits // 8)
        if narrow := re.fullmatch(r"(16|8)(8)(\d+)", m):
            rows, columns, depth = (int(g) for g in narrow.groups())
            return MatrixOp(rows, columns, depth, dtype, Scope.WARP)
    return None


_KIND_DEPTH_BITS = 256  # one tcgen05.mma covers 32 bytes along k
_UTC_TYPES = {0: ("fp16", 16), 1: ("bf16", 16), 2: ("tf32", 32)}


def _with_descriptor(instruction: Instruction, position: int, instructions: list[Instruction]) -> Instruction:
    """Adds shape and type to a UTC*MMA from its instruction descriptor, when that is a constant set in the same function.

    Layout of the descriptor: PTX ISA, "Instruction descriptor" of tcgen05.mma: A type in bits 7 to 9, N / 8 in bits 17 to
    22, M / 16 in bits 24 to 28.
    """
    if not instruction.root.startswith("UTC") or instruction.kind is not Kind.MATRIX:
        return instruction
    register = next((m[1] for o in instruction.operands if (m := re.fullmatch(r"idesc\[(UR\d+)\]", o))), None)
    value = _constant(register, position, instructions) if register else None
    if value is None:
        return instruction
    columns, rows = ((value >> 17) & 0x3F) * 8, ((value >> 24) & 0x1F) * 16
    if instruction.root == "UTCHMMA":
        dtype, bits = _UTC_TYPES.get((value >> 7) & 0x7, ("fp16", 16))
    elif instruction.root == "UTCIMMA":
        dtype, bits = "int8", 8
    else:
        dtype, bits = ("fp8", 8) if instruction.root == "UTCQMMA" else ("fp4", 4)
    depth = _KIND_DEPTH_BITS // bits
    if "2CTA" in instruction.opcode:
        rows //= 2  # two programs share the rows
    first = instruction.operands[0] if instruction.operands else ""
    size = columns * depth + (rows * depth if first.startswith("gdesc") else 0)
    return replace(instruction, matrix=MatrixOp(rows, columns, depth, dtype, Scope.PROGRAM, size * bits // 8))


def _constant(register: str, position: int, instructions: list[Instruction], steps: int = 8) -> int | None:
    """The constant last written to a uniform register before `position` in address order, through up to `steps` copies."""
    for k in range(position - 1, -1, -1):
        earlier = instructions[k]
        if not earlier.operands or earlier.operands[0] != register:
            continue
        source = earlier.operands[-1]
        if earlier.root in {"UMOV", "MOV", "R2UR", "S2UR"} and steps:
            if re.fullmatch(r"-?0x[0-9a-f]+", source):
                return int(source, 16)
            return _constant(source, k, instructions, steps - 1)
        return None
    return None
