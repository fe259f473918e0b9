"""`trainyard roofline`."""

from __future__ import annotations

import click

from ..errors import InputError
from .asking import CATALOG, JSON, OUT, output_problems
from .printing import as_json_text, deliver
from .question import bring_network


@click.command()
@click.option("--model", required=True, metavar="NAME|FILE", help="See `trainyard catalog models`, or a file.")
@click.option("--chip", required=True, metavar="NAME", help="See `trainyard catalog chips`.")
@click.option("--micro-batch", default=None, metavar="N", help="Samples at a time. Default: 32 images or 1 sequence.")
@click.option("--precision", metavar="NAME", help="Number formats. Default: the narrowest 16-bit the chip has.")
@click.option("--stack", metavar="NAME", help="The software. Default: that of a plan on the chip.")
@click.option("--seq-len", metavar="N", help="Tokens of one sequence.")
@click.option("--image-size", metavar="N", help="Side of an image in pixels.")
@JSON
@OUT
@CATALOG
def roofline(as_json: bool, out: str | None, **flags: str | None) -> int:
    """Set every layer of a model against the roof of a chip."""
    problems = output_problems(None, [out])
    if problems:
        raise InputError(*problems)
    from ..report.roofline_text import read_roofline_question, roofline_mapping, roofline_text

    asked: dict[str, str | None] = dict(flags)
    problems = bring_network({"job": asked}, lambda key: f"--{str(key[-1]).replace('_', '-')}")
    if problems:
        raise InputError(*problems)
    found = read_roofline_question(asked)
    deliver(as_json_text(roofline_mapping(found)) if as_json else roofline_text(found), out)
    return 0
