"""Reads the AMD assembly that Triton keeps beside a .hsaco: instructions with their class, work, and jumps.

Source of the names: AMD, "CDNA3 Instruction Set Architecture" reference guide. The text has no addresses, so
instructions are numbered.
"""

from __future__ import annotations

import re

from attncc.backends.triton.machine.instructions import Function, Instruction, Kind, MatrixOp, Scope

_LABEL = re.compile(r"^([.$\w]+):")
_LINE = re.compile(r"^\s+([a-z]\w+)\b\s*([^;]*?)\s*(?:;.*)?$")
_MATRIX = re.compile(r"v_s?mfmac?_(?:scale_)?([fi]\d+)_(\d+)x(\d+)x(\d+)_?(?:(\d+)b_)?([a-z0-9_]+)")
_DTYPES = {"f16": "fp16", "bf16": "bf16", "xf32": "tf32", "f32": "fp32", "f64": "fp64", "i8": "int8"}
_WIDE = re.compile(r"_(?:dwordx(\d)|b(\d+)|(?:u|s|i)(8|16)|byte|ubyte|short|ushort)")
_VALU = (
    (Kind.MUFU, r"v_(exp|log|rcp|rsq|sqrt|sin|cos|prng)_"),
    (Kind.FP64, r"v_\w+_f64"),
    (Kind.COMPARE, r"v_(max|min|max3|min3|med3|maximum3|minimum3|maxnum|minnum)_f(32|16)|v_cmpx?_\w+_f(32|16)"),
    (Kind.HALF, r"v_pk_\w+_(bf|f)16|v_dot2"),
    (Kind.FP32X2, r"v_pk_(fma|add|mul)_f32"),
    (Kind.PACK, r"v_cvt_pk|v_cvt_scalef32_pk"),
    (Kind.CONVERT, r"v_cvt_|v_(floor|ceil|trunc|rndne|fract|ldexp)_"),
    (Kind.FP32, r"v_(fma|fmac|mad|mac|add|sub|subrev|mul|div_\w+|fmaak|fmamk|madak|madmk|pk_mul|mul_legacy)_(f32|f16)"),
    (Kind.BITS, r"v_(bcnt|ffbh|ffbl|bfrev|mbcnt)"),
    (Kind.SELECT, r"v_cndmask|v_cmp"),
    (Kind.SHUFFLE, r"v_(readlane|writelane|readfirstlane|permlane)"),
    (Kind.IMAD, r"v_(mad|mul)_(u|i|lo|hi)\w*|v_mul_lo|v_mul_hi"),
    (Kind.MOVE, r"v_(mov|accvgpr|swap|pk_mov)"),
    (Kind.INT, r"v_"),
)
_OTHER = (
    (Kind.BARRIER, r"s_(waitcnt|barrier|sleep|sethalt|wakeup|wait_|icache|dcache|setprio|sched)|buffer_(wbl2|inv|gl\d_inv)"),
    (Kind.NOP, r"s_(nop|code_end|clause|delay_alu)"),
    (Kind.BRANCH, r"s_(branch|cbranch|endpgm|setpc|swappc|getpc|call|trap)"),
    (Kind.CONSTANT, r"s_(load|buffer_load|memtime|memrealtime)"),
    (Kind.UNIFORM, r"s_"),
    (Kind.SHUFFLE, r"ds_(bpermute|permute|swizzle)"),
    (Kind.SHARED_LOAD, r"ds_read|ds_load"),
    (Kind.SHARED_STORE, r"ds_write|ds_store"),
    (Kind.ATOMIC, r"ds_|\w+_atomic"),
    (Kind.LOCAL_LOAD, r"scratch_load"),
    (Kind.LOCAL_STORE, r"scratch_store"),
    (Kind.ASYNC_COPY, r"(global|buffer)_load_lds"),
    (Kind.GLOBAL_LOAD, r"(global|flat|buffer)_load"),
    (Kind.GLOBAL_STORE, r"(global|flat|buffer)_store"),
)
_VECTOR = tuple((kind, re.compile(pattern)) for kind, pattern in _VALU)
_REST = tuple((kind, re.compile(pattern)) for kind, pattern in _OTHER)


def parse(text: str) -> tuple[Function, ...]:
    """The kernels of an assembly text, in file order."""
    names = set(re.findall(r"^\s*\.type\s+([\w$.]+),@function", text, re.MULTILINE))
    functions: list[Function] = []
    name = ""
    lines: list[tuple[str, str]] = []
    labels: dict[str, int] = {}
    for line in text.splitlines():
        if label := _LABEL.match(line):
            if label[1] in names:
                name, lines, labels = label[1], [], {}
            elif label[1].startswith(".Lfunc_end") and lines:
                functions.append(_function(name, lines, labels))
                name = ""
            elif name:
                labels[label[1]] = len(lines)
        elif name and (match := _LINE.match(line)) and not match[1].startswith("."):
            lines.append((match[1], match[2]))
    return tuple(functions)


def kind_of(opcode: str) -> Kind:
    """The class of an opcode."""
    if _MATRIX.match(opcode):
        return Kind.MATRIX
    for kind, pattern in _VECTOR if opcode.startswith("v_") else _REST:
        if pattern.match(opcode):
            return kind
    return Kind.OTHER


def _function(name: str, lines: list[tuple[str, str]], labels: dict[str, int]) -> Function:
    instructions = []
    for address, (opcode, rest) in enumerate(lines):
        kind = kind_of(opcode)
        operands = tuple(o.strip() for o in rest.split(",")) if rest else ()
        jumps: tuple[int, ...] = ()
        falls = True
        if kind is Kind.BRANCH:
            jumps = tuple(labels[o] for o in operands if o in labels)
            falls = opcode not in {"s_branch", "s_endpgm", "s_setpc_b64"}
        instructions.append(
            Instruction(
                address=address,
                opcode=opcode,
                operands=operands,
                kind=kind,
                bytes=_bytes(opcode, kind),
                matrix=_matrix(opcode),
                jumps=jumps,
                falls=falls,
                polls=opcode == "s_sleep",
            )
        )
    return Function(name, tuple(instructions), (0,))


def _bytes(opcode: str, kind: Kind) -> int:
    """Bytes that one lane moves: global_load_dwordx4 is 16, ds_read2_b64 is 16."""
    memory = {
        Kind.SHARED_LOAD, Kind.SHARED_STORE, Kind.GLOBAL_LOAD, Kind.GLOBAL_STORE, Kind.ASYNC_COPY, Kind.ATOMIC, Kind.LOCAL_LOAD,
        Kind.LOCAL_STORE,
    }  # fmt: skip
    if kind not in memory:
        return 0
    wide = _WIDE.search(opcode)
    if wide is None:
        return 4
    if wide[1]:
        size = 4 * int(wide[1])
    elif wide[2] or wide[3]:
        size = int(wide[2] or wide[3]) // 8
    else:
        size = 1 if "byte" in wide[0] else 2
    return 2 * size if opcode.startswith(("ds_read2", "ds_write2", "ds_load_2", "ds_store_2")) else size


def _matrix(opcode: str) -> MatrixOp | None:
    """Shape and type from the opcode: v_mfma_f32_32x32x8_bf16, v_mfma_f32_4x4x4_16b_f16 (16 blocks)."""
    match = _MATRIX.match(opcode)
    if match is None:
        return None
    rows, columns, depth = int(match[2]), int(match[3]), int(match[4])
    source = match[6].removesuffix("_1k").removesuffix("_e64")
    dtype = "fp8" if "fp8" in source or "bf8" in source else _DTYPES.get(source, source)
    return MatrixOp(rows, columns, depth * int(match[5] or 1), dtype, Scope.WARP)
