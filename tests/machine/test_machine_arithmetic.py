"""Occupancy, the units table and target names: plain arithmetic."""

import pytest
from attncc.backends.triton.machine import TABLE, available, occupancy, parse_target, tool, units_of
from attncc.backends.triton.machine.instructions import Kind
from attncc.backends.triton.machine.toolchain import Resources, resources_from_amdgcn, resources_from_log

from attncc.errors import AttnUnsupportedError, AttnValueError


@pytest.mark.parametrize(
    ("target", "registers", "shared", "warps", "programs", "limit"),
    [
        ("cuda:90", 32, 0, 4, 16, "warps"),
        ("cuda:90", 32, 0, 1, 32, "programs"),
        ("cuda:90", 128, 0, 4, 4, "registers"),
        ("cuda:90", 129, 0, 4, 3, "registers"),  # 136 a thread after rounding: 3 warps a partition
        ("cuda:90", 168, 0, 12, 1, "registers"),
        ("cuda:90", 188, 163872, 8, 1, "registers"),
        ("cuda:90", 226, 81920, 4, 2, "registers"),
        ("cuda:90", 64, 80 * 1024, 4, 2, "shared memory"),
        ("cuda:90", 64, 113 * 1024, 4, 2, "shared memory"),  # 113 KiB and 1 KiB reserved, twice: all 228
        ("cuda:90", 64, 113 * 1024 + 1, 4, 1, "shared memory"),
        ("cuda:90", 64, 227 * 1024, 4, 1, "shared memory"),
        ("cuda:90", 64, 227 * 1024 + 1, 4, 0, "shared memory"),
        ("cuda:80", 64, 163 * 1024, 4, 1, "shared memory"),
        ("cuda:80", 64, 164 * 1024, 4, 0, "shared memory"),
        ("hip:gfx942", 64, 0, 4, 8, "warps"),
        ("hip:gfx942", 128, 0, 4, 4, "registers"),
        ("hip:gfx942", 262, 32768, 4, 1, "registers"),
        ("hip:gfx942", 64, 32768, 4, 2, "shared memory"),
        ("hip:gfx942", 64, 65537, 4, 0, "shared memory"),
    ],
)
def test_occupancy(target: str, registers: int, shared: int, warps: int, programs: int, limit: str) -> None:
    fits = occupancy(registers, shared, warps, units_of(parse_target(target)))
    assert (fits.programs, fits.limit) == (programs, limit)
    assert fits.warps == programs * warps


def test_tensor_memory_and_too_much() -> None:
    units = TABLE["cuda:100"]
    assert occupancy(64, 0, 4, units, tensor_memory=512).programs == 1
    fits = occupancy(64, 0, 4, units, tensor_memory=256)
    assert (fits.programs, fits.limit) == (2, "tensor memory")
    assert occupancy(64, 10**6, 4, units).programs == 0


@pytest.mark.parametrize(
    ("target", "dtype", "tflops"),
    [
        ("cuda:80", "bf16", 312), ("cuda:80", "tf32", 156), ("cuda:80", "int8", 624), ("cuda:90", "bf16", 989.4),
        ("cuda:90", "tf32", 494.7), ("cuda:90", "fp8", 1978.9), ("cuda:100", "bf16", 2250), ("cuda:100", "fp8", 4500),
        ("cuda:100", "fp4", 9000), ("hip:gfx942", "bf16", 1307.4), ("hip:gfx942", "fp8", 2614.9), ("hip:gfx942", "tf32", 653.7),
    ],
)  # fmt: skip
def test_published_matrix_peaks(target: str, dtype: str, tflops: float) -> None:
    assert TABLE[target].peak_tflops(dtype) == pytest.approx(tflops, rel=0.002)


@pytest.mark.parametrize(("target", "tflops"), [("cuda:80", 19.5), ("cuda:90", 66.9), ("hip:gfx942", 81.7)])
def test_published_fp32_peaks(target: str, tflops: float) -> None:
    """Two FLOP for each lane of a multiply-add; AMD's figure with packed instructions is twice this one."""
    units = TABLE[target]
    rate = max(rates.get(Kind.FP32, 0) for rates in units.lanes.values())
    assert 2 * rate * units.sms * units.clock_mhz * 1e-6 == pytest.approx(tflops, rel=0.005)


def test_table_is_complete() -> None:
    silent = {
        Kind.MATRIX, Kind.UNIFORM, Kind.CONSTANT, Kind.TMA, Kind.TENSOR_MEMORY, Kind.BARRIER, Kind.GROUP, Kind.BRANCH, Kind.NOP,
        Kind.OTHER,
    }  # fmt: skip  (these are bound by issue alone, or by work that the table has elsewhere)
    for name, units in TABLE.items():
        assert units_of(parse_target(name)) is units
        assert units.source
        covered = {kind for rates in units.lanes.values() for kind in rates}
        unused = {Kind.FP32X2} if name in ("cuda:80", "cuda:90") else set()
        assert set(Kind) - covered - silent <= unused, name


def test_target_names() -> None:
    hopper = parse_target("cuda:90")
    assert (hopper.backend, hopper.arch, hopper.warp_size, hopper.name) == ("cuda", "90", 32, "cuda:90")
    assert parse_target("cuda:90a") == hopper
    assert parse_target("hip:gfx942").warp_size == 64
    assert parse_target("hip:gfx1100").warp_size == 32
    for wrong in ("cuda", "cuda:h100", "sm_90", "hip:942", "", "cuda:90 "):
        with pytest.raises(AttnValueError, match="no target"):
            parse_target(wrong)


def test_absent_tools_are_named() -> None:
    assert not available("no-such-tool")
    with pytest.raises(AttnUnsupportedError, match=r"no-such-tool|not installed"):
        tool("no-such-tool")


def test_compiler_logs() -> None:
    log = """ptxas info    : Compiling entry function 'k' for 'sm_90a'
ptxas info    : Function properties for k
    48 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads
ptxas info    : Used 168 registers, used 1 barriers, 48 bytes cumulative stack size
"""
    assert resources_from_log(log) == Resources(168, 48, 12, 16)
    assert resources_from_log("ptxas info : nothing") is None
    amd = """  - .agpr_count:     6
    .private_segment_fixed_size: 20
    .sgpr_spill_count: 1
    .vgpr_count:     262
    .vgpr_spill_count: 4
"""
    assert resources_from_amdgcn(amd) == Resources(262, 20, 20, 20)
    with pytest.raises(AttnUnsupportedError):
        resources_from_amdgcn("nothing")
