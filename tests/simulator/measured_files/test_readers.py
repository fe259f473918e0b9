"""Files that people already have: told by their content, streamed, refused in one line where they are damaged."""

import gzip
import json

import numpy as np
import pytest

from simulator.errors import InputError
from simulator.machine_fit.calibrate import calibrate
from simulator.measured_files.kinds import kind_of
from simulator.measured_files.kineto import covered, read_trace, trace_lines
from simulator.measured_files.nccl_tests import read_nccl_tests
from simulator.measured_files.tables import kernel_observations, nccl_observations

NCCL = """# nThread 1 nGpus 4 minBytes 8 maxBytes 134217728 step: 2(factor) warmup iters: 5 iters: 20
# Using devices
#  Rank  0 Group  0 Pid  10 on  secret-host device  0 [0x07] A Card
#  Rank  1 Group  0 Pid  11 on  secret-host device  1 [0x0f] A Card
#  Rank  2 Group  0 Pid  12 on  secret-host device  2 [0x47] A Card
#  Rank  3 Group  0 Pid  13 on  secret-host device  3 [0x4e] A Card
#
#                                                              out-of-place                       in-place
#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw #wrong
#        (B)    (elements)                               (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)
"""


def nccl_text(call_s=2e-5, rate=1e11):
    lines = []
    for power in range(3, 28):
        size = 2**power
        time = (call_s + 1.5 * size / rate) * 1e6
        place = f"{time:8.2f}  1.0  1.0  0"
        lines.append(f"{size:12d} {size // 4:12d}     float     sum      -1  {place}  {place}")
    return NCCL + "\n".join(lines) + "\n# Out of bounds values : 0 OK\n"


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


def test_every_line_of_nccl_tests_is_read_with_its_ranks_and_without_its_host(write):
    (test,) = read_nccl_tests(write("all_reduce.txt", nccl_text()))
    assert (test.collective, test.ranks, test.hosts, len(test.points)) == ("all_reduce", 4, 1, 25)
    assert test.points[0] == (8, pytest.approx(2e-5, rel=1e-3))
    assert "secret" not in repr(test)
    assert [o.byte for o in nccl_observations([test])] == [float(2**p) for p in range(3, 28)]


def test_the_name_of_the_program_in_the_text_goes_before_that_of_the_file(write):
    text = "$ ./build/all_gather_perf -b 8 -e 128M -f 2 -g 4\n" + nccl_text()
    assert read_nccl_tests(write("log.txt", text))[0].collective == "all_gather"
    twice = text + text.replace("all_gather_perf", "reduce_scatter_perf")
    assert [t.collective for t in read_nccl_tests(write("both.txt", twice))] == ["all_gather", "reduce_scatter"]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("log.txt", nccl_text(), "which collective"),
        ("all_reduce.txt", NCCL, "no line of measurements"),
        ("all_reduce.txt", nccl_text().replace("#  Rank", "#  Rang"), "'#  Rank  0 ...' are missing"),
        ("all_reduce.txt", nccl_text().replace("   20.00 ", "     N/A ", 1), "all_reduce.txt:11: no time in column 6"),
    ],
)  # fmt: skip
def test_nccl_tests_that_cannot_be_read_say_what_is_missing(write, name, text, said):
    with pytest.raises(InputError) as caught:
        read_nccl_tests(write(name, text))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nccl_tests_alone_give_a_link_and_its_constants(write):
    found = calibrate([write("all_reduce.txt", nccl_text())])
    assert found.machine is None
    assert found.fabric.ranks == 4
    assert found.fabric.bandwidth_byte_per_s == pytest.approx(1e11, rel=0.05)
    assert sorted(found.files()) == ["calibrations/this-machine.toml", "links/this-machine-link.toml"]


def event(cat, name, ts, dur, **more):
    own = {"ph": "X", "cat": cat, "name": name, "ts": ts, "dur": dur, "pid": 0, "tid": 7}
    return own | {"args": {"host": "secret"}} | more


def trace(events, **more):
    return json.dumps({"schemaVersion": 1, "hostname": "secret", **more, "traceEvents": events})


#: 600 us of compute, 400 us of an all-reduce, 300 us of both: three quarters of the exchange are hidden.
OVERLAP = [
    event("kernel", "sgemm", 100.0, 600.0), event("kernel", "ncclDevKernel_AllReduce_Sum_f32_RING_LL", 400.0, 400.0),
    event("cpu_op", "aten::mm", 0.0, 50.0), {"ph": "M", "name": "process_name", "args": {"name": "secret"}},
]  # fmt: skip


def test_overlap_is_the_share_of_communication_beside_compute(write):
    found = read_trace(write("t.json", trace(OVERLAP)))
    assert found.device == "gpu"
    assert found.overlap_share == pytest.approx(0.75)
    assert (found.compute_s, found.communication_s, found.span_s) == tuple(map(pytest.approx, (6e-4, 4e-4, 7e-4)))
    assert found.idle_s == pytest.approx(0.0, abs=1e-12)
    assert "secret" not in "\n".join(trace_lines(found)) + repr(found)


def test_launches_that_follow_each_other_tell_the_hosts_time(write):
    launches = [event("cuda_runtime", "cudaLaunchKernel", 8.0 * i, 3.0) for i in range(50)]
    # One that waited for the device, and a pause: neither is the host at work.
    for begin, took in ((400.0, 5000.0), (9e5, 3.0)):
        launches.append(event("cuda_runtime", "cudaLaunchKernel", begin, took))
    kernels = [event("kernel", "k", 8.0 * i, 2.0) for i in range(50)]
    found = read_trace(write("t.json.gz", gzip.compress(trace(launches + kernels).encode())))
    assert found.launch_s == pytest.approx(8e-6)
    assert found.launches == 52
    assert found.kernels[0].calls == 50
    assert found.kernels[0].seconds == pytest.approx(1e-4)


@pytest.mark.parametrize("size", [1, 7, 64, 4096])
def test_a_trace_reads_the_same_in_whatever_pieces_it_comes(write, monkeypatch, size):
    from simulator.measured_files import kineto

    path = write("t.json", trace([*OVERLAP, event("kernel", "x" * 200, 900.0, 10.0)], displayTimeUnit="ms"))
    whole = read_trace(path)
    monkeypatch.setattr(kineto, "_CHUNK", size)
    assert read_trace(path) == whole


def test_a_trace_that_is_a_bare_list_and_one_of_a_cpu_are_read(write):
    bare = json.dumps([event("cpu_op", "aten::mm", 0.0, 10.0), event("cpu_op", "gloo:all_reduce", 5.0, 10.0)])
    found = read_trace(write("t.json", bare))
    assert found.device == "cpu"
    assert found.overlap_share == pytest.approx(0.5)
    assert found.launch_s is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (trace(OVERLAP)[:-20], "cut off"),
        (trace(OVERLAP).replace('"traceEvents"', '"events"'), '"traceEvents" is missing'),
        (trace([]), "no kernels and no operators"),
        ('{"traceEvents": 3}', "is no list"),
        ('{"traceEvents": [{"ph": nope}]}', "no JSON"),
    ],
)
def test_a_damaged_trace_is_refused_in_one_line(write, text, said):
    with pytest.raises(InputError) as caught:
        read_trace(write("t.json", text))
    assert said in str(caught.value)


def test_the_union_of_intervals_counts_every_moment_once():
    rng = np.random.default_rng(3)
    begin = rng.integers(0, 200, 40).astype(float)
    end = begin + rng.integers(0, 30, 40)
    moments = np.zeros(300, bool)
    for b, e in zip(begin, end, strict=True):
        moments[int(b) : int(e)] = True
    assert covered(begin, end) == pytest.approx(moments.sum())
    assert covered(np.zeros(0), np.zeros(0)) == 0.0


HEAD = "kernel,chip,precision,library,suite,m,n,k,time_s\n"


def kernel_table(chip="A100-SXM4-80GB", share=0.8):
    lines = [
        f"gemm,{chip},bf16,torch 2.1,mine,{m},{n},{k},{3e-6 + 2.0 * m * n * k / (312e12 * share):.6g}"
        for m in (512, 1024, 4096)
        for n in (1024, 4096)
        for k in (1024, 2048, 8192)
    ]
    return HEAD + "\n".join(lines) + "\n"


def test_a_table_of_kernels_refits_the_chip_of_the_catalogue_it_names(write):
    found = calibrate([write("kernels.csv", kernel_table())])
    assert found.machine.chip.id == "a100-sxm4-80gb"
    assert found.machine.families["gemm"].rows == 18
    assert list(found.files()) == ["calibrations/this-machine.toml"]
    assert all(key.endswith("@chip=a100-sxm4") for key in found.machine.deviations["gemm"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (kernel_table() + kernel_table("V100-SXM2-16GB").partition("\n")[2], "names A100-SXM4-80GB, V100-SXM2-16GB"),
        (kernel_table("A100"), "may be a100"),
        (kernel_table("Z9000"), "not in the catalogue"),
        (kernel_table().replace("bf16", "bf61"), "precision is 'bf61'"),
        (HEAD, "this table names none"),
    ],
)
def test_a_table_of_kernels_that_cannot_be_fitted_says_why(write, text, said):
    with pytest.raises(InputError) as caught:
        calibrate([write("kernels.csv", text)])
    assert said in str(caught.value)


def test_rows_without_a_time_or_with_a_flag_are_left_out(write):
    text = kernel_table().rstrip("\n") + "\ngemm,A100-SXM4-80GB,bf16,torch,mine,8,8,8,\n"
    assert len(kernel_observations(write("k.csv", text))[1]) == 18


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("a", nccl_text(), "nccl-tests"),
        ("b", trace(OVERLAP), "trace"),
        ("c", gzip.compress(trace(OVERLAP).encode()), "trace"),
        ("d", kernel_table(), "kernels"),
        ("e", "collective,ranks,size_bytes,time_s\n", "collectives"),
        ("f", "source,model,chip,num_chips,metric,value\n", "runs"),
        ("g", '{\n "schema": 1,\n "kind": "trainyard probe",\n', "probe"),
    ],
)
def test_a_files_kind_is_told_by_its_content(write, name, text, kind):
    assert kind_of(write(name, text)) == kind


@pytest.mark.parametrize("text", ["", "hello\n", "a,b,c\n1,2,3\n", "{}", b"\x00\xff\x00", b"\x1f\x8bbroken"])
def test_a_file_of_no_known_kind_is_one_clear_line(write, text):
    with pytest.raises(InputError) as caught:
        kind_of(write("x", text))
    assert "\n" not in str(caught.value)


def test_step_times_scale_the_stack_that_ran_them(write):
    """Runs that took half as long again as predicted make their stack slower; it is named with its interval."""
    from simulator.machine_fit.steps import stack_law
    from simulator.validation.runs import read_table
    from simulator.validation.shipped_tables import shipped_table

    rows = [r for r in shipped_table("measured_runs.csv") if r["source"] == "mosaicml/llm-foundry"][:40]
    columns = list(rows[0])
    lines = [",".join(columns)] + [",".join('"' + r[c].replace('"', '""') + '"' for c in columns) for r in rows]
    path = write("runs.csv", "\n".join(lines) + "\n")
    from pathlib import Path

    table = read_table(Path(path))
    assert table.primary
    stack = table.jobs[table.primary[0]].context.stack.id
    law = stack_law(table, stack)
    one = {name: np.ones(law.settings.rows) for name in law.specs}
    slow = {**one, "compute_scale": one["compute_scale"] * 1.5}
    assert np.all(law.seconds(slow) > law.seconds(one))
    found = calibrate([path])
    assert f"steps {stack}" in found.fits
    assert found.fits[f"steps {stack}"].rows == law.settings.rows
