"""The model on kernels whose counts are known by construction, compiled for every target of the table."""

import json

import pytest
from attncc.backends.triton.machine import LoopReport, analyse, compile_kernel, parse_target, table
from attncc.backends.triton.machine.instructions import Kind
from attncc.backends.triton.machine.model import functions
from attncc.backends.triton.machine.toolchain import resources_from_cubin
from conftest import CUDA, FLOATS, TARGETS, Compile, need_tools
from rich.console import Console

from attncc.errors import AttnUnsupportedError

STREAM = FLOATS | {"a": "fp32", "b": "fp32"}
WEIGHTS = dict.fromkeys("QKVO", "*bf16") | {"N": "i32", "scale": "fp32"}


def product(dtype: str, sums: str = "fp32") -> dict[str, str]:
    return {"A": f"*{dtype}", "B": f"*{dtype}", "C": f"*{sums}", "K": "i32"}


def operations(loop: LoopReport) -> float:
    """fp32 operations of an iteration: packed instructions hold two."""
    return loop.lanes.get(Kind.FP32, 0) + 2 * loop.lanes.get(Kind.FP32X2, 0)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("fmas", "exps"), [(0, 1), (5, 2)])
def test_exponentials_and_multiply_adds(compiled: Compile, target: str, fmas: int, exps: int) -> None:
    made = compiled("stream", STREAM, {"BLOCK": 1024, "FMAS": fmas, "EXPS": exps}, target)
    loop = analyse(made).steady
    assert loop is not None
    elements = loop.load_bytes / 8  # each element is loaded and stored once, however far the loop is unrolled
    assert elements >= 1024 and elements % 1024 == 0
    assert loop.lanes[Kind.MUFU] == exps * elements
    assert operations(loop) == fmas * elements
    assert loop.local == 0 and loop.conditional == 0 and made.spills == 0
    counted = analyse(made, elements=elements).steady
    assert counted is not None
    every = counted.per_element()
    assert every is not None and counted.per_element(Kind.MUFU) == exps
    assert counted.others == pytest.approx(every - exps)
    assert counted.clocks["mufu"] == exps * elements / 16  # 16 lanes a clock on every target of the table
    assert counted.peak_overlapped is None and counted.peak_serial is None  # no matrix work


@pytest.mark.parametrize(
    ("target", "dtype", "word", "shape"),
    [
        ("cuda:80", "bf16", "HMMA", "16x8x16"),
        ("cuda:80", "fp32", "HMMA", "16x8x8"),
        ("cuda:90", "bf16", "HGMMA", "64x64x16"),
        ("cuda:90", "fp32", "HGMMA", "64x64x8"),
        ("cuda:90", "fp8e5", "QGMMA", "64x64x32"),
        ("cuda:90", "i8", "IGMMA", "64x64x32"),
        ("cuda:100", "bf16", "UTCHMMA", "128x64x16"),
        ("cuda:100", "fp32", "UTCHMMA", "128x64x8"),
        ("cuda:100", "fp8e5", "UTCQMMA", "128x64x32"),
        ("hip:gfx942", "bf16", "v_mfma", "32x32x8"),
    ],
)
def test_matrix_work(compiled: Compile, target: str, dtype: str, word: str, shape: str) -> None:
    sums = "i32" if dtype == "i8" else "fp32"
    made = compiled("product", product(dtype, sums), {"BM": 128, "BN": 64, "BK": 64}, target)
    report = analyse(made, flops_per_element=2 * 64)
    loop = report.steady
    assert loop is not None
    names = {"fp32": "tf32", "fp8e5": "fp8", "i8": "int8"}
    assert loop.flops == {names.get(dtype, dtype): 2 * 128 * 64 * 64}
    assert loop.elements == 128 * 64
    assert loop.clocks["tensor"] == pytest.approx(loop.total_flops / report.units.tensor[names.get(dtype, dtype)])
    matrix = [i for i in functions(made)[0].instructions if i.kind is Kind.MATRIX]
    assert matrix and all(i.opcode.startswith(word) and i.matrix and i.matrix.shape == shape for i in matrix)
    assert loop.peak_overlapped is not None and loop.peak_serial is not None
    assert 0 < loop.peak_serial <= loop.peak_overlapped <= 1
    assert not report.notes


def test_operands_in_shared_memory(compiled: Compile) -> None:
    """wgmma of 64 x 64 x 16 reads 64 x 16 of each operand: 4 KiB, so 32 clocks beside its 32 on the matrix unit."""
    made = compiled("product", product("fp16"), {"BM": 128, "BN": 64, "BK": 64}, "cuda:90")
    loop = analyse(made).steady
    assert loop is not None
    assert loop.clocks["tensor"] == 256
    assert loop.shared_bytes >= 8 * 4096
    assert loop.clocks["shared"] == loop.shared_bytes / 128
    assert loop.phases[0] == 256 and loop.serial == sum(loop.phases)


def test_single_warp_products_on_hopper_fall_short(compiled: Compile) -> None:
    """A tile of 32 rows is too small for wgmma: mma.sync does it, below the peak, and the report says so."""
    made = compiled("product", product("fp16"), {"BM": 32, "BN": 64, "BK": 64}, "cuda:90")
    report = analyse(made)
    loop = report.steady
    assert loop is not None and any(op.startswith("HMMA") for op in loop.opcodes)
    assert loop.clocks["tensor"] == pytest.approx(loop.ideal / 0.629)
    assert any("mma.sync" in note for note in report.notes)


@pytest.mark.parametrize("target", TARGETS)
def test_nested_loops(compiled: Compile, target: str) -> None:
    made = compiled("nested", FLOATS | {"M": "i32"}, {"BLOCK": 512}, target)
    report = analyse(made)
    inner = [loop for loop in report.loops if loop.depth == 2]
    outer = [loop for loop in report.loops if loop.depth == 1 and not loop.inner]
    assert len(outer) == 1 and inner and all(loop.inner for loop in inner)
    # Each turn of the inner loop is one multiplication and one exponential an element.
    for loop in inner:
        assert operations(loop) == loop.lanes[Kind.MUFU]
    assert report.steady in inner
    root = "v_rsq" if target.startswith("hip") else "MUFU.RSQ"
    assert any(op.startswith(root) for op in outer[0].opcodes)
    assert not any(op.startswith(root) for loop in inner for op in loop.opcodes)


@pytest.mark.parametrize("target", TARGETS)
def test_conditional_part_of_a_loop(compiled: Compile, target: str) -> None:
    made = compiled("sometimes", FLOATS, {"BLOCK": 512}, target)
    loop = analyse(made).steady
    assert loop is not None
    assert 0 < loop.conditional < loop.instructions


@pytest.mark.parametrize("target", CUDA)
def test_spills(compiled: Compile, target: str) -> None:
    free = compiled("held", FLOATS, {"BLOCK": 8192}, target)
    tight = compiled("held", FLOATS, {"BLOCK": 8192}, target, options={"maxnreg": 40})
    assert free.spills == 0 and free.registers > 64
    assert tight.registers == 40 and tight.spills > 0 and tight.resources.stack > 0
    loose, spilling = analyse(free), analyse(tight)
    assert loose.steady is not None and spilling.steady is not None
    assert loose.steady.local == 0 and spilling.steady.local > 0
    assert any("spill" in note for note in spilling.notes) and not loose.notes
    assert loose.rank < spilling.rank
    assert resources_from_cubin(tight.binary, tight.name).registers == 40
    assert resources_from_cubin(tight.binary, tight.name).stack == tight.resources.stack


@pytest.mark.parametrize("target", ["cuda:90", "cuda:100"])
@pytest.mark.parametrize("special", [False, True])
def test_weights_between_two_products(compiled: Compile, target: str, special: bool) -> None:
    """One exponential and one multiplication a pair; the specialised kernel does the same work in several loops at once."""
    made = compiled("weights", WEIGHTS, {"BM": 128, "BN": 64, "D": 64, "SPECIAL": special}, target)
    report = analyse(made, flops_per_element=4 * 64)
    steady = report.steady
    assert steady is not None and steady.elements == 128 * 64
    assert (made.total_warps > made.warps) is special
    assert (steady.label == "together") is special
    assert steady.per_element(Kind.MUFU) == 1
    assert operations(steady) == 128 * 64
    assert steady.lanes[Kind.PACK] == 128 * 64 / 2
    assert steady.counts[Kind.TMA] >= 2
    others, uniform = steady.others, steady.per_element(Kind.UNIFORM)
    assert others is not None and uniform is not None and 0 < uniform < others < 6
    assert report.groups == (2 if special and target == "cuda:90" else 1)
    assert report.peak_estimate is not None and 0 < report.peak_estimate <= 1
    assert made.tensor_memory == 0 if target == "cuda:90" else made.tensor_memory > 0


def test_report_as_data_and_as_table(compiled: Compile) -> None:
    made = compiled("weights", WEIGHTS, {"BM": 128, "BN": 64, "D": 64, "SPECIAL": False}, "cuda:90")
    report = analyse(made, flops_per_element=4 * 64)
    data = json.loads(json.dumps(report.to_json()))
    assert data["steady"]["per_element"]["mufu"] == 1
    assert report.steady is not None and data["steady"]["binds"] == report.steady.binds
    assert data["kernel"]["registers"] == made.registers and data["kernel"]["target"] == "cuda:90"
    console = Console(width=140)
    with console.capture() as shown:
        console.print(table(report))
    text = shown.get()
    for word in ("registers", "occupancy", "others", "overlapped", "tensor", "mufu"):
        assert word in text


def test_a_target_without_figures_compiles_but_has_no_model(compiled: Compile) -> None:
    made = compiled("stream", STREAM, {"BLOCK": 1024, "FMAS": 1, "EXPS": 1}, "cuda:89")
    with pytest.raises(AttnUnsupportedError, match="cuda:89"):
        analyse(made)


def test_an_interpreted_kernel_is_refused() -> None:
    need_tools()

    def plain() -> None: ...

    with pytest.raises(AttnUnsupportedError, match="no compilable"):
        compile_kernel(plain, {}, {}, parse_target("cuda:90"))
