"""Quantities are read in one way only, or refused with the way out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwmodels.units import UNITS, UnitError, parse_count, parse_quantity, to_si

READ = [
    ("400 Gbit/s", "byte/s", 50e9),
    ("3.35 TB/s", "byte/s", 3.35e12),
    ("496 Gbit/s", "byte/s", 62e9),
    ("80 GiB", "byte", 80 * 2.0**30),
    ("80 GB", "byte", 80e9),
    ("1 kB", "byte", 1000.0),
    ("1 KiB", "byte", 1024.0),
    ("8 bit", "byte", 1.0),
    ("989.4 TFLOP/s", "flop/s", 989.4e12),
    ("4.368 TFLOP/s", "flop/s", 4.368e12),
    ("1979 TOP/s", "flop/s", 1979e12),
    ("0.9 us", "s", 0.9e-6),
    ("0.9 µs", "s", 0.9e-6),
    ("15us", "s", 15e-6),
    ("2 h", "s", 7200.0),
    ("700 W", "w", 700.0),
    ("3.5 kW", "w", 3500.0),
    ("1980 MHz", "hz", 1.98e9),
    ("118 pJ/B", "j/byte", 118e-12),
    ("4 pJ/bit", "j/byte", 32e-12),
    ("2 kWh", "j", 7.2e6),
    ("12.29 USD/h", "usd/h", 12.29),
    ("3.6e6 USD/kWh", "usd/j", 1.0),
    ("30000 USD", "usd", 30000.0),
    ("2048 tokens", "tokens", 2048.0),
    ("5", "1", 5.0),
    ("5 1", "1", 5.0),
    ("35 %", "1", 0.35),
    ("1e3 GB", "byte", 1e12),
    (".5 GB", "byte", 0.5e9),
    ("3 EB", "byte", 3e18),
]

# Each can be read in two ways, or in none.
REFUSED = [
    ("400 Gb/s", "byte/s"),
    ("400 Gb", "byte"),
    ("400 Gb", "byte/s"),
    ("400 Gbps", "byte/s"),
    ("4 TBps", "byte/s"),
    ("4 GBps", "byte/s"),
    ("4 MBps", "byte/s"),
    ("10 gb", "byte"),
    ("10 gB", "byte"),
    ("10 mb", "byte"),
    ("10 Mb", "byte"),
    ("10 KB", "byte"),
    ("10 Kb", "byte"),
    ("10 kb", "byte"),
    ("10 Kib", "byte"),
    ("10 KIB", "byte"),
    ("10 kiB", "byte"),
    ("10 KBps", "byte/s"),
    ("10 KB/s", "byte/s"),
    ("10 KiBps", "byte/s"),
    ("10 Gigabytes", "byte"),
    ("10 bytes", "byte"),
    ("10 b", "byte"),
    ("10 G", "byte"),
    ("10 GB/sec", "byte/s"),
    ("10 Gbit/sec", "byte/s"),
    ("10 Gibps", "byte/s"),
    ("10 GB", "byte/s"),
    ("10 GB/s", "byte"),
    ("25 GT/s", "byte/s"),
    ("312 TFLOPS", "flop/s"),
    ("312 TFLOPs", "flop/s"),
    ("312 TFlop/s", "flop/s"),
    ("312 tflop/s", "flop/s"),
    ("312 TFLOP", "flop/s"),
    ("312 TFLOP/s", "flop"),
    ("312 T", "flop/s"),
    ("624 TOPS", "flop/s"),
    ("5 m", "s"),
    ("5 M", "s"),
    ("5 sec", "s"),
    ("5 mins", "s"),
    ("5 hours", "s"),
    ("5 d", "s"),
    ("5 uS", "s"),
    ("5 mhz", "hz"),
    ("5 Mhz", "hz"),
    ("5 w", "w"),
    ("5 KW", "w"),
    ("5 kw", "w"),
    ("5 kWh", "w"),
    ("5 $", "usd"),
    ("5 usd", "usd"),
    ("5 EUR", "usd"),
    ("5 USD", "usd/h"),
    ("5 USD/hr", "usd/h"),
    ("5 $/h", "usd/h"),
    ("5 Btokens", "tokens"),
    ("5 k", "1"),
    ("5 pct", "1"),
    ("80", "byte"),
    ("", "byte"),
    ("GB", "byte"),
    ("-5 GB", "byte"),
    ("+5 GB", "byte"),
    ("1,000 GB", "byte"),
    ("1_000 GB", "byte"),
    ("5  GB", "byte"),
    (" 5 GB", "byte"),
    ("5 GB\n", "byte"),
    ("5 GB 3 MB", "byte"),
    ("0x10 GB", "byte"),
    ("nan GB", "byte"),
    ("inf GB", "byte"),
    ("1e999 GB", "byte"),
    ("1e300 EB", "byte"),
    ("٣ GB", "byte"),
    ("9" * 1000 + " GB", "byte"),
]


@pytest.mark.parametrize(("text", "dimension", "si"), READ)
def test_quantity_is_read_as_the_nearest_float(text: str, dimension: str, si: float) -> None:
    assert parse_quantity(text, dimension) == si


@pytest.mark.parametrize(("text", "dimension"), REFUSED)
def test_ambiguous_or_malformed_quantity_is_refused(text: str, dimension: str) -> None:
    with pytest.raises(UnitError):
        parse_quantity(text, dimension)


def test_at_least_sixty_spellings_are_refused() -> None:
    assert len(set(REFUSED)) >= 60


@pytest.mark.parametrize(
    ("text", "dimension", "meant"),
    [
        ("400 Gb/s", "byte/s", "Did you mean 'Gbit/s' or 'GB/s'?"),
        ("400 Gb", "byte", "Did you mean 'Gbit' or 'GB'?"),
        ("4 TBps", "byte/s", "Did you mean 'TB/s' or 'Tbit/s'?"),
        ("10 KB", "byte", "Did you mean 'kB' or 'KiB'?"),
        ("10 kiB", "byte", "Did you mean 'KiB' or 'kB'?"),
        ("312 TFLOPS", "flop/s", "'TFLOP/s'"),
        ("5 Mhz", "hz", "'MHz'"),
        ("80", "byte", "'80 GB' or '80 GiB'"),
        ("5 kWh", "w", "is a unit of j, not of w"),
    ],
)
def test_refusal_offers_the_nearest_legal_meanings(text: str, dimension: str, meant: str) -> None:
    with pytest.raises(UnitError) as refusal:
        parse_quantity(text, dimension)
    assert meant in str(refusal.value)


@pytest.mark.parametrize("dimension", sorted(UNITS))
def test_every_offer_of_a_refusal_is_legal(dimension: str) -> None:
    for wrong in ("Gb", "KB", "TBps", "GiBps", "xyz", "S", "flops", "", "E", "Kbit", "Eib"):
        if wrong in UNITS[dimension]:
            continue
        with pytest.raises(UnitError) as refusal:
            to_si(1.0, wrong, dimension)
        offers = str(refusal.value).split("Did you mean ")[1].rstrip("?").replace("'", "").split(" or ")
        assert all(offer in UNITS[dimension] for offer in offers)


@given(
    st.sampled_from([(dimension, unit) for dimension, units in UNITS.items() for unit in units]),
    st.floats(min_value=1e-30, max_value=1e30),
)
def test_value_survives_the_way_to_si_and_back(place: tuple[str, str], value: float) -> None:
    dimension, unit = place
    assert to_si(value, unit, dimension) / float(UNITS[dimension][unit]) == pytest.approx(value, rel=1e-15)


@given(
    st.sampled_from([(dimension, unit) for dimension, units in UNITS.items() for unit in units]),
    st.floats(min_value=0, max_value=1e30),
)
def test_printed_quantity_is_parsed_as_it_is_converted(place: tuple[str, str], value: float) -> None:
    dimension, unit = place
    assert parse_quantity(f"{value!r} {unit}", dimension) == to_si(value, unit, dimension)


@given(st.text(), st.sampled_from(sorted(UNITS)))
def test_any_text_is_read_or_refused(text: str, dimension: str) -> None:
    message = ""
    try:
        assert parse_quantity(text, dimension) >= 0
    except UnitError as error:
        message = str(error)
    assert len(message) < 1000


def test_one_byte_is_eight_bits() -> None:
    assert parse_quantity("8 Gbit/s", "byte/s") == parse_quantity("1 GB/s", "byte/s")


def test_unknown_dimension_is_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="no dimension 'bytes'; known: 1, byte"):
        parse_quantity("5 GB", "bytes")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_number_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(UnitError, match="not a finite number"):
        to_si(value, "GB", "byte")


@pytest.mark.parametrize(("text", "count"), [("1024", 1024.0), ("300e9", 300e9), ("1.5e3", 1500.0), ("0", 0.0)])
def test_count_is_read(text: str, count: float) -> None:
    assert parse_count(text) == count


@pytest.mark.parametrize("text", ["1.5M", "300B", "1.5", "-3", "1,000", "", "nan", "1e999", "1e-3", "0x10", " 3"])
def test_count_with_letters_or_fractions_is_refused(text: str) -> None:
    with pytest.raises(UnitError):
        parse_count(text)
