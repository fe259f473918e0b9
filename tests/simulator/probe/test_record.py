"""The probe's file: what is written is read back, and what is not a file of the probe is refused in one line."""

import json

import pytest

from simulator.errors import InputError
from simulator.probe.case import Case
from simulator.probe.export import COLLECTIVE_COLUMNS, KERNEL_COLUMNS, as_csv, collective_rows, kernel_rows
from simulator.probe.record import Measurement, ProbeRecord, is_probe, read_record, to_json, write_record
from simulator.probe.run import resumed
from simulator.probe.timing import timing_of

MACHINE = {
    "device": "cpu", "name": "A CPU", "vendor": "Intel", "capability": "AVX512", "cores": 4, "threads": 2,
    "memory_byte": 2**34, "torch": "2.13.0", "last_cache_byte": 2**24, "on_chip_byte": 32768,
}  # fmt: skip


def measurement(suite, shape, seconds=(0.5, 0.75, 1.0), precision="fp32", **more):
    case = Case(suite=suite, precision=precision, shape=shape, flop=1e6, byte=1e5)
    return Measurement(case=case, timing=timing_of(seconds, 3), **{"ranks": 1, "threads": 2, **more})


def record(*measurements, **more):
    return ProbeRecord(machine=MACHINE, seed=0, measurements={m.case.id: m for m in measurements}, **more)


GEMM = measurement("gemm", {"m": 8, "n": 16, "k": 32, "batch": 1, "layout": "NT"})
RING = measurement("collectives", {"kind": "all_reduce", "size_bytes": 4096, "side": 0}, ranks=2, library="gloo")


def test_what_is_written_is_read_back(tmp_path):
    path, made = tmp_path / "here.json", record(GEMM, RING, refused={"gemm/fp8/x=1": "no such type"})
    write_record(path, made)
    assert read_record(path) == made
    assert is_probe(path.read_text())
    assert not list(tmp_path.glob(".*"))
    assert to_json(read_record(path)) == path.read_text()


def test_a_file_has_one_line_for_each_measurement_and_names_nobody(tmp_path):
    import getpass
    import socket

    text = to_json(record(GEMM, RING))
    assert sum('"suite"' in line for line in text.splitlines()) == 2
    assert socket.gethostname() not in text
    assert getpass.getuser() == "root" or getpass.getuser() not in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.update(kind="other"), "not a file of"),
        (lambda d: d.update(schema=99), "schema is 99"),
        (lambda d: d["machine"].pop("threads"), "machine lacks threads"),
        (lambda d: d["measurements"][0].pop("byte"), "measurements[0]: byte is missing"),
        (lambda d: d["measurements"][0]["seconds"].update(median=0.0), "not all finite and above 0"),
        (lambda d: d["measurements"][0].update(shape=[1]), "shape holds more"),
        (lambda d: d["measurements"].append(3), "measurements[1]: is 3"),
    ],
)
def test_a_damaged_file_is_refused_with_the_place(tmp_path, change, said):
    path = tmp_path / "here.json"
    data = json.loads(to_json(record(GEMM)))
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(InputError) as caught:
        read_record(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_text_that_is_cut_off_is_refused(tmp_path):
    path = tmp_path / "here.json"
    path.write_text(to_json(record(GEMM))[:-40])
    with pytest.raises(InputError, match="not JSON"):
        read_record(path)


def test_a_file_of_this_machine_is_gone_on_with_and_one_of_another_is_not(tmp_path):
    path = tmp_path / "here.json"
    assert resumed(path, MACHINE, 0).measurements == {}
    write_record(path, record(GEMM))
    assert list(resumed(path, MACHINE, 0).measurements) == [GEMM.case.id]
    with pytest.raises(InputError, match=r"torch is '2\.13\.0' there and '2\.14' here"):
        resumed(path, {**MACHINE, "torch": "2.14"}, 0)
    with pytest.raises(InputError, match="--seed 0, not 5"):
        resumed(path, MACHINE, 5)


def test_a_product_of_turned_operands_is_written_as_blas_has_it():
    # x[8, 32] times the transpose of W[16, 32]: column by column it is W^T' x', 16 x 8.
    (row,) = kernel_rows(record(GEMM), "this-machine")
    assert [row[c] for c in ("m", "n", "k", "transA", "transB")] == ["16", "8", "32", "T", "N"]
    plain = measurement("gemm", {"m": 8, "n": 16, "k": 32, "batch": 1, "layout": "NN"})
    (row,) = kernel_rows(record(plain), "this-machine")
    assert [row.get(c, "") for c in ("m", "n", "k", "transA", "transB")] == ["8", "16", "32", "", ""]


def test_tables_have_the_columns_of_measured_ones_and_a_row_for_each_that_has_a_model():
    optimizer = measurement("optimizer", {"rule": "adam", "tensors": 2, "size": 8})
    made = record(GEMM, RING, optimizer)
    kernels, collectives = kernel_rows(made, "x"), collective_rows(made, "x", "y")
    assert len(kernels) == len(collectives) == 1
    assert as_csv(kernels, KERNEL_COLUMNS).splitlines()[0] == ",".join(KERNEL_COLUMNS)
    assert float(kernels[0]["time_s"]) == float(collectives[0]["time_s"]) == GEMM.timing.median_s
    assert collectives[0]["ranks"] == "2"
    assert set(collectives[0]) <= set(COLLECTIVE_COLUMNS)
