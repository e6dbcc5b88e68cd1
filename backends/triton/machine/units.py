"""What each target's units can do, per streaming multiprocessor (SM) and clock: one table, every figure with its source.

Sources, by the letters used below:
- [G] NVIDIA, "CUDA C++ Programming Guide" 12.9 and "CUDA C++ Best Practices Guide" 13.x, "Throughput of Native Arithmetic
  Instructions" (results per clock and SM; a two-way SIMD instruction gives two), and the tables of technical specifications
  per compute capability.
- [A] NVIDIA, "A100 Tensor Core GPU Architecture" 1.0.   [H] NVIDIA, "H100 Tensor Core GPU Architecture" 1.04.
- [B] NVIDIA, "Blackwell Architecture Technical Brief" and the HGX B200 data sheet (2.25 PFLOP/s dense bf16 a GPU).
- [F] Zadouri et al. 2026, "FlashAttention-4", feeds and speeds of B200: 8192 tensor FLOP, 16 exponentials, 128 bytes of
  shared memory per clock and SM; operands of a matrix instruction in shared memory are read once per instruction.
- [L] Luo et al. 2024, "Benchmarking and Dissecting the Nvidia Hopper GPU Architecture via Microbenchmarking",
  arXiv:2402.13499: wgmma reads its operands from shared memory alike; mma.sync reaches 62.9 % of the matrix peak on Hopper.
- [N] NVIDIA, "Nsight Compute, Kernel Profiling Guide", pipelines: FMA is a heavy and a light half, integer multiply-add runs
  on the heavy one; ALU runs integer, logic, comparison and minimum; XU runs transcendentals and most conversions; LSU runs
  memory instructions and shuffles; each of the 4 schedulers of an SM issues one warp instruction a clock.
- [M] AMD, "CDNA 3 Architecture" white paper and MI300X data sheet.   [I] AMD, "CDNA3 Instruction Set Architecture" guide.
Not settled by a public source: the rate of conversions that pack (F2FP). ptxas gives them no scoreboard, as it does to
instructions of fixed latency and unlike all of XU, so they are counted on the ALU at 64 a clock; the guide's row for fp32 to
bf16 has been quoted as 16, which would add 1/32 clock an attention score. To be measured.
None of these figures was measured by attncc.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from attncc.backends.triton.machine.instructions import Kind
from attncc.backends.triton.machine.target import Target

from attncc.errors import AttnUnsupportedError

Rates = Mapping[Kind, float]

_K = Kind
_MEMORY = (
    _K.SHARED_LOAD, _K.SHARED_STORE, _K.GLOBAL_LOAD, _K.GLOBAL_STORE, _K.ASYNC_COPY, _K.ATOMIC, _K.LOCAL_LOAD, _K.LOCAL_STORE,
    _K.SHUFFLE,
)  # fmt: skip
_ALU = (_K.INT, _K.COMPARE, _K.SELECT, _K.MOVE, _K.PACK)


def _at(rate: float, *kinds: Kind) -> dict[Kind, float]:
    return dict.fromkeys(kinds, rate)


@dataclass(frozen=True, slots=True)
class Units:
    """One GPU.

    - `tensor`: FLOP per clock and SM of the matrix units, by operand type.
    - `lanes`: for each unit, how many lanes of each class of instruction it takes per clock and SM. A class may use several.
    - `issue`: lanes issued per clock and SM, whatever the class.
    - `shared_bytes`: shared memory traffic per clock and SM. `load_bytes`: global and local traffic through L1. `cache_bytes`: what
      the L2 cache gives.
    - `cache_mib`: the L2 cache.
    - `clock_mhz`: boost; `tensor_clock_mhz`: the clock of the published matrix peak. `dram_gbs`: 10^9 bytes a second.
    - registers, shared memory (bytes) and warps: what an SM holds, and the steps in which it hands them out.
    """

    name: str
    sms: int
    clock_mhz: float
    tensor_clock_mhz: float
    dram_gbs: float
    tensor: Mapping[str, float]
    lanes: Mapping[str, Rates]
    issue: float
    shared_bytes: float
    load_bytes: float
    cache_bytes: float  # from the L2 cache, per clock and SM
    cache_latency: float  # clocks of a load that hits the L2 cache
    cache_mib: float
    warp_size: int
    partitions: int  # schedulers of an SM, each with its share of the registers
    registers: int  # 32-bit registers of an SM
    registers_per_thread: int
    register_step: int  # registers are given to a warp in multiples of this
    shared: int
    shared_per_program: int
    shared_reserved: int
    shared_step: int
    warps: int
    programs: int
    tensor_memory: int = 0  # columns
    warp_matrix: float = 1.0  # part of the matrix peak that instructions of one warp (mma.sync) reach
    source: str = ""

    def peak_tflops(self, dtype: str) -> float:
        """The published dense matrix peak in TFLOP/s."""
        return self.tensor[dtype] * self.sms * self.tensor_clock_mhz * 1e-6


_A100 = Units(
    name="A100 SXM 80 GB",
    sms=108,  # [A]
    clock_mhz=1410,  # [A]
    tensor_clock_mhz=1410,
    dram_gbs=2039,  # [A], 80 GB part
    tensor={"bf16": 2048, "fp16": 2048, "tf32": 1024, "int8": 4096, "int4": 8192, "fp64": 128},  # [A]: 312 TFLOP/s bf16
    lanes={
        "mufu": _at(16, _K.MUFU, _K.BITS, _K.CONVERT),  # [G] [N]
        "fma": {**_at(64, _K.FP32, _K.IMAD), _K.HALF: 128},  # [G]
        "alu": _at(64, *_ALU),  # [G]
        "fp64": _at(32, _K.FP64),  # [G]
        "lsu": _at(32, *_MEMORY),  # [A]: 32 load/store units
    },
    issue=128,  # [N]
    shared_bytes=128,  # [A]: 32 banks of 4 bytes
    load_bytes=128,  # one L1 and shared memory array [A]
    cache_bytes=47.4,  # [A]: 5120 bytes a clock over 108 SMs
    cache_latency=260,  # [L]
    cache_mib=40,  # [A]
    warp_size=32,
    partitions=4,
    registers=65536,  # [G]
    registers_per_thread=255,
    register_step=256,
    shared=164 * 1024,  # [G]
    shared_per_program=163 * 1024,
    shared_reserved=1024,
    shared_step=128,
    warps=64,
    programs=32,
    source="NVIDIA A100 white paper; CUDA programming guide, compute capability 8.0",
)

_H100 = Units(
    name="H100 SXM (H200: the same SM, 4800 GB/s)",
    sms=132,  # [H]
    clock_mhz=1980,  # [H]: 67 TFLOP/s fp32
    tensor_clock_mhz=1830,  # [H]: 989.4 TFLOP/s bf16
    dram_gbs=3350,  # [H]
    tensor={"bf16": 4096, "fp16": 4096, "tf32": 2048, "fp8": 8192, "int8": 8192, "fp64": 256},  # [H]
    lanes={
        "mufu": _at(16, _K.MUFU, _K.BITS, _K.CONVERT),  # [G] [N]
        "fma": _at(128, _K.FP32, _K.IMAD, _K.HALF),  # [G]
        "fma_heavy": _at(64, _K.IMAD),  # [G] [N]
        "alu": _at(64, *_ALU),  # [G]
        "fp64": _at(64, _K.FP64),  # [G]
        "lsu": _at(32, *_MEMORY),  # [H]
    },
    issue=128,  # [N]
    shared_bytes=128,  # [F]
    load_bytes=128,
    cache_bytes=38.8,  # none is published: the 5120 bytes a clock of [A] over 132 SMs
    cache_latency=260,  # [L]
    cache_mib=50,  # [H]
    warp_size=32,
    partitions=4,
    registers=65536,  # [G]
    registers_per_thread=255,
    register_step=256,
    shared=228 * 1024,  # [G]
    shared_per_program=227 * 1024,
    shared_reserved=1024,
    shared_step=128,
    warps=64,
    programs=32,
    warp_matrix=0.629,  # [L]
    source="NVIDIA H100 white paper; CUDA programming guide, compute capability 9.0",
)

_B200 = Units(
    name="B200",
    sms=148,  # [F]
    clock_mhz=1965,
    tensor_clock_mhz=1856,  # from [B]: 2250 TFLOP/s over 148 SMs and 8192 FLOP
    dram_gbs=8000,  # [B]
    tensor={"bf16": 8192, "fp16": 8192, "tf32": 4096, "fp8": 16384, "fp6": 16384, "int8": 16384, "fp4": 32768, "fp64": 128},
    # bf16: [F]; the others by their ratio to bf16 in [B]
    lanes={
        "mufu": _at(16, _K.MUFU, _K.BITS, _K.CONVERT),  # [F]
        "fma": {**_at(128, _K.FP32, _K.IMAD), **_at(64, _K.FP32X2, _K.HALF)},  # [G]; a pair takes both halves of the pipe
        "fma_heavy": _at(64, _K.IMAD),  # [G] [N]
        "alu": {**_at(64, *_ALU), _K.COMPARE: 128},  # [G]: minimum and maximum 128
        "fp64": _at(64, _K.FP64),  # [G]
        "lsu": _at(32, *_MEMORY),
    },
    issue=128,  # [N]
    shared_bytes=128,  # [F]
    load_bytes=128,
    cache_bytes=34.6,  # none is published: the 5120 bytes a clock of [A] over 148 SMs
    cache_latency=260,  # as [L] says of Hopper
    cache_mib=126,  # NVIDIA, "Blackwell Tuning Guide"
    warp_size=32,
    partitions=4,
    registers=65536,  # [G]
    registers_per_thread=255,
    register_step=256,
    shared=228 * 1024,  # [G]
    shared_per_program=227 * 1024,
    shared_reserved=1024,
    shared_step=128,
    warps=64,
    programs=32,
    tensor_memory=512,  # PTX ISA, tensor memory: 512 columns of 128 lanes
    source="FlashAttention-4; NVIDIA Blackwell technical brief; CUDA programming guide, compute capability 10.0",
)

_VALU = (
    _K.FP32, _K.FP32X2, _K.COMPARE, _K.HALF, _K.INT, _K.IMAD, _K.SELECT, _K.MOVE, _K.PACK, _K.CONVERT, _K.BITS,
)  # fmt: skip

_MI300X = Units(
    name="MI300X",
    sms=304,  # [M]: compute units
    clock_mhz=2100,  # [M]
    tensor_clock_mhz=2100,
    dram_gbs=5300,  # [M]
    tensor={"bf16": 2048, "fp16": 2048, "tf32": 1024, "fp8": 4096, "int8": 4096, "fp32": 256, "fp64": 256},  # [M]: 1307 TFLOP/s
    lanes={
        # 4 SIMDs take a wave of 64 in 4 clocks [I]; transcendentals at a quarter of that; packed fp32 gives the 256 FLOP of [M].
        "valu": {**_at(64, *_VALU), _K.MUFU: 16, _K.FP64: 64},
        "mufu": _at(16, _K.MUFU),
        "salu": _at(64, _K.UNIFORM, _K.CONSTANT),  # one scalar instruction a clock
        "lsu": _at(64, *_MEMORY),  # one local-memory or vector-memory instruction a clock
    },
    issue=320,  # five instructions of different kinds a clock
    shared_bytes=128,  # [M]
    load_bytes=64,  # [M]: vector cache, 64 bytes a clock
    cache_bytes=53.9,  # [M]: 2048 bytes a clock for the 38 compute units of a die
    cache_latency=500,  # none is published: an order of magnitude
    cache_mib=256,  # [M]: the Infinity Cache, which all dies share
    warp_size=64,
    partitions=4,
    registers=512 * 64 * 4,  # [I]: 512 vector registers of 64 lanes on each SIMD
    registers_per_thread=512,
    register_step=8 * 64,
    shared=64 * 1024,  # [M]
    shared_per_program=64 * 1024,
    shared_reserved=0,
    shared_step=512,
    warps=32,
    programs=16,
    source="AMD CDNA 3 white paper and instruction set guide",
)

TABLE: Mapping[str, Units] = {"cuda:80": _A100, "cuda:90": _H100, "cuda:100": _B200, "hip:gfx942": _MI300X}


def units_of(target: Target) -> Units:
    """The figures of a target.

    Raises `AttnUnsupportedError` for a target that is not in the table.
    """
    found = TABLE.get(target.name)
    if found is None:
        raise AttnUnsupportedError(
            f"no figures for the units of {target}: expected one of {', '.join(TABLE)}",
            help="compilation works without them; to model the target, add a row to backends/triton/machine/units.py",
        )
    return found
