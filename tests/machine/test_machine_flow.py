"""Reading machine code, and its loops, from written-out disassemblies: no compiler needed."""

from attncc.backends.triton.machine.flow import Flow, Loop
from attncc.backends.triton.machine.gcn import kind_of as amd_kind
from attncc.backends.triton.machine.gcn import parse as parse_amd
from attncc.backends.triton.machine.instructions import Function, Instruction, Kind, Scope
from attncc.backends.triton.machine.opcodes import KINDS, kind_of
from attncc.backends.triton.machine.sass import parse


def assemble(*lines: str) -> Function:
    """A disassembly from its labels (`name:`) and instructions, 16 bytes each."""
    text, address = ["\t.section .text.k", ".text.k:"], 0
    for line in lines:
        if line.endswith(":"):
            text.append(line)
        else:
            text.append(f"        /*{address:04x}*/                   {line} ;")
            address += 16
    (function,) = parse("\n".join(text))
    return function


def one(line: str) -> Instruction:
    return assemble(line).instructions[0]


def loops(function: Function) -> list[Loop]:
    return [loop for loop in Flow(function).loops if not loop.waiting]


def opcodes(loop: Loop) -> list[str]:
    return [i.opcode for i in loop.own]


def test_operands_predicates_and_classes() -> None:
    add = one("@!P0 FADD R1, -R2, c[0x0][0x210]")
    assert (add.opcode, add.predicate, add.operands, add.kind) == ("FADD", "@!P0", ("R1", "-R2", "c[0x0][0x210]"), Kind.FP32)
    assert one("UIADD3 UR4, UR4, 0x1, URZ").kind is Kind.UNIFORM
    assert one("LDCU.64 UR4, c[0x0][0x358]").kind is Kind.UNIFORM
    assert one("MUFU.EX2 R1, R2").kind is Kind.MUFU
    assert one("FFMA2 R2, R4, R6, R8").kind is Kind.FP32X2
    assert one("NOT_AN_OPCODE R1").kind is Kind.OTHER
    assert all(kind_of(root) is kind for root, kind in KINDS.items())


def test_bytes_of_memory_instructions() -> None:
    sizes = {
        "LDG.E.128 R4, desc[UR4][R2.64]": 16, "LDG.E.U16 R4, [R2]": 2, "STG.E R4, [R2]": 4, "LDS.64 R4, [R2]": 8,
        "LDSM.16.M88.4 R4, [R2]": 16, "LDSM.16.MT88.2 R4, [R2]": 8, "LDSM.16.M88 R4, [R2]": 4,
        "LDGSTS.E.BYPASS.128 [R2], desc[UR4][R4.64]": 16, "STL.64 [R1], R4": 8, "LDTM.x64 R4, tmem[UR4]": 256,
        "FADD R1, R2, R3": 0,
    }  # fmt: skip
    for line, size in sizes.items():
        assert one(line).bytes == size, line


def test_matrix_shapes() -> None:
    rows = {
        "HMMA.16816.F32.BF16 R4, R8, R10, R4": ("16x8x16", "bf16", Scope.WARP, 0),
        "HMMA.1688.F32.TF32 R4, R8, R10, R4": ("16x8x8", "tf32", Scope.WARP, 0),
        "HMMA.16816.F32 R4, R8, R10, R4": ("16x8x16", "fp16", Scope.WARP, 0),
        "IMMA.16832.S8.S8.SAT R4, R8, R10, R4": ("16x8x32", "int8", Scope.WARP, 0),
        "DMMA.884 R4, R8, R10, R4": ("8x8x4", "fp64", Scope.WARP, 0),
        "HGMMA.64x128x16.F32.BF16 R24, gdesc[UR4], R24, gsb0": ("64x128x16", "bf16", Scope.GROUP, (64 + 128) * 16 * 2),
        "HGMMA.64x64x16.F32.BF16 R24, R8, gdesc[UR4].tnspB, R24": ("64x64x16", "bf16", Scope.GROUP, 64 * 16 * 2),
        "QGMMA.64x64x32.F32.E4M3.E4M3 R24, gdesc[UR4], R24": ("64x64x32", "fp8", Scope.GROUP, 128 * 32),
    }
    for line, (shape, dtype, scope, size) in rows.items():
        found = one(line).matrix
        assert found is not None, line
        assert (found.shape, found.dtype, found.scope, found.shared_bytes) == (shape, dtype, scope, size), line


def test_matrix_shape_from_the_instruction_descriptor() -> None:
    function = assemble(
        "UMOV UR9, 0x8200490",
        "UMOV UR7, UR9",
        "UTCHMMA gdesc[UR4], gdesc[UR10], tmem[UR14], tmem[UR6], idesc[UR7], !UPT",
        "UMOV UR7, 0x8110490",
        "UTCHMMA tmem[UR4], gdesc[UR10], tmem[UR14], tmem[UR6], idesc[UR7], UPT",
        "UIADD3 UR7, UR7, 0x1, URZ",
        "UTCHMMA tmem[UR4], gdesc[UR10], tmem[UR14], tmem[UR6], idesc[UR7], UPT",
        "EXIT",
    )
    first, second, unknown = (i.matrix for i in function.instructions if i.kind is Kind.MATRIX)
    assert first is not None and second is not None and unknown is None
    assert (first.shape, first.dtype, first.scope, first.shared_bytes) == ("128x128x16", "bf16", Scope.PROGRAM, 256 * 16 * 2)
    assert (second.shape, second.shared_bytes) == ("128x64x16", 64 * 16 * 2)


def test_a_single_loop() -> None:
    function = assemble("MOV R1, RZ", ".L_x_0:", "FADD R2, R2, R1", "@P0 BRA `(.L_x_0)", "EXIT", ".L_x_1:", "BRA `(.L_x_1)")
    (loop,) = loops(function)
    assert opcodes(loop) == ["FADD", "BRA"]
    assert (loop.header, loop.depth, loop.innermost, loop.conditional) == (16, 1, True, ())
    # The padding after EXIT jumps to itself, but nothing reaches it.
    assert len(Flow(function).loops) == 1


def test_nested_loops_share_no_instructions() -> None:
    function = assemble(
        ".L_x_0:", "FMUL R1, R1, R1", ".L_x_1:", "FADD R2, R2, R1", "@P0 BRA `(.L_x_1)", "MUFU.EX2 R1, R1", "@P1 BRA `(.L_x_0)",
        "EXIT",
    )  # fmt: skip
    outer, inner = loops(function)
    assert (outer.depth, inner.depth, inner.parent is outer, outer.innermost) == (1, 2, True, False)
    assert opcodes(inner) == ["FADD", "BRA"]
    assert opcodes(outer) == ["FMUL", "MUFU.EX2", "BRA"]


def test_a_branch_in_a_loop_is_conditional() -> None:
    function = assemble(
        ".L_x_0:", "ISETP.GT.AND P0, PT, R1, RZ, PT", "BSSY B0, `(.L_x_2)", "@P0 BRA `(.L_x_1)", "FADD R2, R2, R2", ".L_x_1:",
        "BSYNC B0", ".L_x_2:", "@P1 BRA `(.L_x_0)", "EXIT",
    )  # fmt: skip
    (loop,) = loops(function)
    assert [i.opcode for i in loop.conditional] == ["FADD"]
    assert len(loop.own) == 6


def test_spin_waits_off_the_path_do_not_count() -> None:
    """A barrier is polled once in line; only when that fails does the loop go to a spin loop far below, and back."""
    function = assemble(
        ".L_x_0:",
        "SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [UR4], R0",
        "@!P0 BRA `(.L_x_8)",
        ".L_x_1:",
        "FADD R2, R2, R2",
        ".L_x_2:",
        "SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [UR5], R0",
        "@!P0 BRA `(.L_x_2)",
        "@P1 BRA `(.L_x_0)",
        "EXIT",
        ".L_x_8:",
        "SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [UR4], R0",
        "@!P0 BRA `(.L_x_8)",
        "BRA `(.L_x_1)",
    )
    flow = Flow(function)
    (loop,) = loops(function)
    assert sum(inner.waiting for inner in flow.loops) == 2
    assert loop.innermost and loop.conditional == ()
    assert opcodes(loop) == ["SYNCS.PHASECHK.TRANS64.TRYWAIT", "BRA", "FADD", "SYNCS.PHASECHK.TRANS64.TRYWAIT", "BRA", "BRA"]


def test_conditions_among_the_operands() -> None:
    function = assemble(".L_x_0:", "FADD R1, R1, R1", "BRA.U !UP0, `(.L_x_0)", "MUFU.EX2 R1, R1", "EXIT")
    assert function.instructions[1].falls
    (loop,) = loops(function)
    assert opcodes(loop) == ["FADD", "BRA.U"]
    flow = Flow(function)
    assert function.instructions[2].address in flow.reachable


def test_calls_and_convergence() -> None:
    function = assemble(
        "BSSY B0, `(.L_x_1)",
        "@P0 BRA `(.L_x_0)",
        "CALL.REL.NOINC `($k$slow)",
        ".L_x_0:",
        "BSYNC B0",
        "FMUL R1, R1, R1",
        ".L_x_1:",
        "EXIT",
        "$k$slow:",
        "FADD R1, R1, R1",
        "RET.REL.NODEC R2 `(k)",
    )
    assert function.roots == (0, 96)
    flow = Flow(function)
    # BSYNC goes on where its BSSY says, past the multiplication.
    assert 64 not in flow.reachable and 80 in flow.reachable and 96 in flow.reachable
    assert flow.loops == ()


def test_indirect_branches() -> None:
    named = assemble("BRX R2 -0x10 (*\"BRANCH_TARGETS .L_x_0,.L_x_1\"*)", ".L_x_0:", "EXIT", ".L_x_1:", "FADD R1, R1, R1", "EXIT")
    assert named.instructions[0].jumps == (16, 32) and not named.indirect
    unnamed = assemble("BRX R2 -0x10", ".L_x_0:", "EXIT", ".L_x_1:", "FADD R1, R1, R1", "EXIT")
    assert unnamed.instructions[0].jumps == (16, 32) and unnamed.indirect


def test_several_kernels_in_a_file() -> None:
    text = ".text.first:\n /*0000*/ EXIT ;\n.text.second:\n /*0000*/ NOP ;\n /*0010*/ EXIT ;\n"
    first, second = parse(text)
    assert (first.name, len(first.instructions), second.name, len(second.instructions)) == ("first", 1, "second", 2)
    assert parse("") == ()


AMD = """	.type	k,@function
k:                                      ; @k
	s_load_dword s0, s[4:5], 0x0
.LBB0_1:                                ; =>This Inner Loop Header: Depth=1
	.loc	1 15 5                          ; k.py:15:5
	global_load_dwordx4 v[0:3], v[4:5], off
	v_exp_f32_e32 v0, v0
	v_pk_fma_f32 v[0:1], v[0:1], v[2:3], v[4:5]
	v_mfma_f32_32x32x8_bf16 a[0:15], v[0:1], v[2:3], a[0:15]
	s_add_i32 s0, s0, -1
	s_cmp_lg_u32 s0, 0
	s_cbranch_scc1 .LBB0_1
	s_endpgm
.Lfunc_end0:
	.size	k, .Lfunc_end0-k
	.section	.rodata
	.long 0
"""


def test_amd_assembly() -> None:
    (function,) = parse_amd(AMD)
    assert function.name == "k" and len(function.instructions) == 9
    (loop,) = loops(function)
    kinds = [i.kind for i in loop.own]
    assert kinds == [Kind.GLOBAL_LOAD, Kind.MUFU, Kind.FP32X2, Kind.MATRIX, Kind.UNIFORM, Kind.UNIFORM, Kind.BRANCH]
    assert loop.own[0].bytes == 16
    product = loop.own[3].matrix
    assert product is not None and (product.shape, product.dtype, product.scope) == ("32x32x8", "bf16", Scope.WARP)
    classes = {
        "v_max3_f32": Kind.COMPARE, "v_cvt_pk_bf16_f32": Kind.PACK, "v_cndmask_b32_e32": Kind.SELECT, "v_add3_u32": Kind.INT,
        "v_mul_lo_u32": Kind.IMAD, "ds_read2_b64": Kind.SHARED_LOAD, "ds_bpermute_b32": Kind.SHUFFLE, "s_waitcnt": Kind.BARRIER,
        "buffer_store_dword": Kind.GLOBAL_STORE, "scratch_load_dword": Kind.LOCAL_LOAD, "global_atomic_add_f32": Kind.ATOMIC,
        "v_fma_f64": Kind.FP64, "v_mov_b32_e32": Kind.MOVE, "v_sub_f32_e32": Kind.FP32, "v_smfmac_f32_16x16x32_f16": Kind.MATRIX,
    }  # fmt: skip
    for opcode, kind in classes.items():
        assert amd_kind(opcode) is kind, opcode
