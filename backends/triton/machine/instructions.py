"""What the model knows of one machine instruction, whatever the instruction set it was read from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Classes of instructions. `units.py` says which unit executes each and how fast."""

    MATRIX = "matrix"  # tensor cores: HMMA, IMMA, HGMMA, UTC*MMA; v_mfma
    MUFU = "mufu"  # exp2, log2, reciprocal, reciprocal square root, sine, cosine, tanh
    FP32 = "fp32"  # one fp32 add, multiply or fma per lane
    FP32X2 = "fp32x2"  # a pair of fp32 operations per lane
    COMPARE = "compare"  # fp32 minimum, maximum and comparison
    HALF = "half"  # a pair of 16-bit operations per lane
    FP64 = "fp64"
    INT = "int"  # integer add, logic, shift, compare
    IMAD = "imad"  # integer multiply-add, also used as a move
    SELECT = "select"  # select and predicate logic
    MOVE = "move"
    PACK = "pack"  # two fp32 to one word of narrower numbers
    CONVERT = "convert"  # other conversions
    BITS = "bits"  # population count, leading zeros, bit reverse
    UNIFORM = "uniform"  # the scalar datapath: U* on NVIDIA, s_* on AMD
    SHUFFLE = "shuffle"  # exchange between the lanes of a warp
    SHARED_LOAD = "shared_load"
    SHARED_STORE = "shared_store"
    GLOBAL_LOAD = "global_load"
    GLOBAL_STORE = "global_store"
    ASYNC_COPY = "async_copy"  # global to shared memory by threads, past the registers
    ATOMIC = "atomic"
    LOCAL_LOAD = "local_load"  # local (scratch) memory: a reloaded spill
    LOCAL_STORE = "local_store"
    CONSTANT = "constant"
    TMA = "tma"  # bulk tensor copies
    TENSOR_MEMORY = "tensor_memory"
    BARRIER = "barrier"  # barriers, waits, fences
    GROUP = "group"  # bookkeeping around asynchronous matrix instructions
    BRANCH = "branch"
    NOP = "nop"
    OTHER = "other"  # not in the table: it counts as an issued instruction only


class Scope(StrEnum):
    """Who issues a matrix instruction together."""

    WARP = "warp"
    GROUP = "group"  # four warps: HGMMA
    PROGRAM = "program"  # one thread for the whole program: UTC*MMA


@dataclass(frozen=True, slots=True)
class MatrixOp:
    """A dense product of an m x k and a k x n tile. `shared_bytes` is what it reads from shared memory."""

    m: int
    n: int
    k: int
    dtype: str
    scope: Scope
    shared_bytes: int = 0

    @property
    def flops(self) -> int:
        return 2 * self.m * self.n * self.k

    @property
    def shape(self) -> str:
        return f"{self.m}x{self.n}x{self.k}"


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction.

    `bytes` is what one lane moves to or from memory. `jumps` are the addresses it may go to, `falls` whether the next
    instruction may follow. `polls` marks the test inside a spin loop.
    """

    address: int
    opcode: str
    operands: tuple[str, ...] = ()
    predicate: str = ""
    kind: Kind = Kind.OTHER
    bytes: int = 0
    matrix: MatrixOp | None = None
    jumps: tuple[int, ...] = ()
    falls: bool = True
    polls: bool = False

    @property
    def root(self) -> str:
        """The opcode without its modifiers: `MUFU` of `MUFU.EX2`, `v_exp_f32` of `v_exp_f32_e32`."""
        return self.opcode.split(".")[0]


@dataclass(frozen=True, slots=True)
class Function:
    """The instructions of one kernel in address order. `roots` are entry addresses: the kernel's first, then callees."""

    name: str
    instructions: tuple[Instruction, ...]
    roots: tuple[int, ...]
    indirect: bool = False  # has an indirect branch whose targets the disassembler did not name
