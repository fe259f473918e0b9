"""Reports say what the values say, add up, and hold nothing that a terminal or a JSON reader would choke on."""

import json
from dataclasses import replace

import pytest

from simulator.parallelism import Parallelism
from simulator.report.json_form import NotFiniteError, dumps, plan_json, plan_mapping
from simulator.report.quantities import apportion, capacity, digits, energy, many, money, scaled, seconds
from simulator.report.scale_text import ScalePoint, scale_rows, scale_text
from simulator.report.tables import fold, table
from simulator.report.text import breakdown_rows, in_common, memory_rows, plan_text


def test_the_text_of_a_plan_is_the_expected_file(hand_made_report, golden):
    golden("plan", plan_text(hand_made_report))


def test_the_text_where_nothing_fits_is_the_expected_file(nothing_fits_report, golden):
    golden("nothing_fits", plan_text(nothing_fits_report))


def test_the_answer_stands_in_the_first_sentence(hand_made_report):
    first = plan_text(hand_made_report).split("\n\n")[0].replace("\n", " ")
    assert first == (
        "gpt-made with a global batch of 512 on 64 chips of made: 10.0 s a step (80 % interval 9.00 to 11.0 s), "
        "5.43 h for 2.05 billion tokens, USD 1,230, 1.00 MWh."
    )


def test_no_line_is_wider_than_a_hundred_columns(hand_made_report, nothing_fits_report):
    long = replace(hand_made_report, assumptions=("word " * 100,), stack_name="name " * 60)
    for report in (long, nothing_fits_report):
        assert max(len(line) for line in plan_text(report).split("\n")) <= 100


def test_a_file_gets_no_colours_and_a_terminal_only_bold(hand_made_report):
    plain = plan_text(hand_made_report)
    bold = plan_text(hand_made_report, colour=True)
    assert "\x1b" not in plain
    assert bold.replace("\x1b[1m", "").replace("\x1b[0m", "") == plain
    assert bold != plain


def test_nothing_in_a_name_steers_the_terminal(hand_made_report):
    evil = replace(hand_made_report, stack_name="a\x1b[2Jb", warnings=("\x07bell", "\u202eright to left"))
    text = plan_text(evil)
    assert all(line.isprintable() for line in text.split("\n"))
    assert "a\\x1b[2Jb" in text


def test_shares_of_the_breakdown_add_up_to_a_hundred_percent(hand_made_report):
    for plan in hand_made_report.ranked:
        *parts, total = breakdown_rows(plan)
        assert sum(round(10 * float(share.split()[0])) for _, _, share in parts) == 1000
        assert total == ("total", f"{plan.step.total_s:.1f} s", "100.0 %")


def test_shares_of_memory_add_up_to_the_share_of_the_total(hand_made_report):
    *parts, total = memory_rows(hand_made_report.ranked[0])
    assert sum(round(10 * float(share.split()[0])) for _, _, share in parts) == 650
    assert total == ("total", "52.0 GiB", "65.0 %")


def test_a_report_without_interval_money_or_data_says_so(hand_made_report):
    best = hand_made_report.ranked[0]
    bare = replace(best, low_s=None, high_s=None, outcome=None, checked_by_events_s=None)
    text = plan_text(replace(hand_made_report, ranked=(bare,), known_error=None))
    assert "80 % interval" not in text
    assert "0 measured runs" in text
    assert "USD" not in text
    unpriced = replace(best, outcome=replace(best.outcome, cost_usd=None, cost_basis="no price is known"))
    assert "unknown (no price is known)" in plan_text(replace(hand_made_report, ranked=(unpriced,)))


def test_an_mfu_above_one_is_called_impossible(hand_made_report):
    above = replace(hand_made_report.ranked[0], mfu=1.2)
    assert "do not believe" in plan_text(replace(hand_made_report, ranked=(above,)))
    assert "do not believe" not in plan_text(hand_made_report)


def test_json_holds_the_numbers_of_the_text(hand_made_report):
    value = json.loads(plan_json(hand_made_report))
    text = plan_text(hand_made_report)
    assert value["ranked"][0]["step_s"] == hand_made_report.ranked[0].step.total_s == 10.0
    assert sum(value["ranked"][0]["parts"].values()) == pytest.approx(value["ranked"][0]["step_s"], rel=1e-12)
    for plan in value["ranked"]:
        assert seconds(plan["step_s"]) in text
        assert f"{100 * plan['mfu']:.1f} %" in text
    memory = value["ranked"][0]["memory"]
    assert sum(v for k, v in memory.items() if k not in ("total_byte", "capacity_byte")) == memory["total_byte"]
    assert capacity(memory["total_byte"]) in text


def test_json_keys_of_physical_values_carry_their_unit(hand_made_report):
    value = plan_mapping(hand_made_report)
    ranked = value["ranked"][0]
    assert {"step_s", "low_s", "high_s", "samples_per_s", "tokens_per_s"} <= set(ranked)
    assert all(key.endswith("_s") for key in ranked["parts"])
    assert all(key.endswith("_byte") for key in ranked["memory"])
    assert {"cost_usd", "energy_j", "time_s"} <= set(ranked["outcome"])


def test_the_same_report_gives_the_same_bytes(hand_made_report):
    assert plan_json(hand_made_report) == plan_json(replace(hand_made_report))


def test_json_refuses_numbers_that_are_not_finite_and_says_where(hand_made_report):
    bad = replace(hand_made_report.ranked[0], mfu=float("nan"))
    with pytest.raises(NotFiniteError, match=r"ranked\[0\]\.mfu"):
        plan_json(replace(hand_made_report, ranked=(bad,)))
    with pytest.raises(NotFiniteError):
        dumps({"a": [1.0, float("inf")]})


@pytest.mark.parametrize(
    ("value_s", "text"),
    [
        (0.0, "0 s"), (3e-13, "0.300 ps"), (5e-9, "5.00 ns"), (1.5e-5, "15.0 us"), (0.0123, "12.3 ms"),
        (0.99996, "1.00 s"), (9.81, "9.81 s"), (119.9, "120 s"), (150.0, "2.50 min"), (3 * 3600.0, "3.00 h"),
        (864000.0, "10.0 days"), (1e9, "31.7 years"),
    ],
)  # fmt: skip
def test_durations_are_read_in_the_unit_that_suits_them(value_s, text):
    assert seconds(value_s) == text


def test_other_quantities_are_read_in_the_unit_that_suits_them():
    assert scaled(312e12, "FLOP/s") == "312 TFLOP/s"
    assert scaled(999.9e9, "B/s") == "1.00 TB/s"
    assert capacity(80 * 2**30) == "80.0 GiB"
    assert capacity(51.2 * 2**20) == "51.2 MiB"
    assert energy(3.6e9) == "1.00 MWh"
    assert money(2_853_123.0) == "USD 2,850,000"
    assert money(12.345) == "USD 12.3"
    assert many(300e9) == "300 billion"
    assert many(1234) == "1,234"
    assert digits(9.996) == "10.0"


@pytest.mark.parametrize("values", [[1, 1, 1], [0.1, 99.9], [5, 0, 0], [1e-9, 1, 2, 3], [2 / 3, 1 / 3]])
def test_apportioned_numbers_add_up_and_stay_within_one_of_their_share(values):
    parts = apportion(values, 1000)
    assert sum(parts) == 1000
    for part, value in zip(parts, values, strict=True):
        assert abs(part - 1000 * value / sum(values)) < 1


def test_a_table_folds_its_last_column_and_lines_up_the_rest():
    lines = table(["n", "words"], [["1", "one two three four five six"], ["100", "x"]], left=(1,), width=26)
    assert lines == ["    n  words", "    1  one two three four", "       five six", "  100  x"]


def test_folding_keeps_hyphenated_words_and_percentages_whole():
    assert fold("a virtual-stages=12 of 15.5 % here", 20) == ["a virtual-stages=12", "of 15.5 % here"]
    assert fold("aaaaaaaaaaaa 15.5 % b", 17) == ["aaaaaaaaaaaa", "15.5 % b"]


def test_what_strategies_have_in_common_is_taken_out_once():
    own, common = in_common(["tp=1 pp=2 x", "tp=2 pp=2 x"])
    assert (own, common) == (["tp=1", "tp=2"], "pp=2 x")
    assert in_common(["tp=1 pp=2"]) == (["tp=1 pp=2"], "")


def _point(chips, step_s, global_batch=512):
    fits = step_s > 0
    return ScalePoint(
        model="m",
        system="s",
        stack="k",
        chips=chips,
        global_batch=global_batch,
        parallelism=Parallelism(dp=chips, global_batch=global_batch) if fits else None,
        step_s=step_s,
        samples_per_s=global_batch / step_s if fits else 0.0,
        reason="" if fits else "Closest: tp=8 needs 97 GiB of 80 GiB.",
    )


def test_a_scaling_curve_is_measured_against_the_first_point_that_fits():
    # 8 chips 10 s; 32 chips ideally 2.5 s, here 4 s: speed-up 2.5, efficiency 2.5 / 4, gap 1.5 s.
    rows = scale_rows([_point(4, 0.0), _point(8, 10.0), _point(32, 4.0)])
    assert [row.point.chips for row in rows] == [8, 32]
    assert rows[0].speedup == rows[0].efficiency == 1.0
    assert rows[1].speedup == pytest.approx(2.5)
    assert rows[1].efficiency == pytest.approx(0.625)
    assert rows[1].gap_to_linear_s == pytest.approx(1.5)


def test_weak_scaling_that_keeps_its_step_time_is_linear():
    rows = scale_rows([_point(8, 10.0, 512), _point(16, 10.0, 1024)])
    assert rows[1].efficiency == pytest.approx(1.0)
    assert rows[1].gap_to_linear_s == pytest.approx(0.0)


def test_the_text_of_a_scaling_curve_is_the_expected_file(golden):
    points = [_point(4, 0.0), _point(8, 10.0), _point(32, 4.0)]
    golden("scale", scale_text(points, "strong", points[0].describe("strong"), ("global batch 512: made",)))
