"""`trainyard catalog`."""

from __future__ import annotations

import click

from ..errors import InputError
from .asking import CATALOG, JSON, OUT, fine_tuning_options, output_problems
from .printing import as_json_text, deliver
from .question import network_of


@click.command()
@click.argument("kind", required=False, metavar="[KIND]")
@click.argument("name", required=False, metavar="[NAME]")
@click.option("--model", metavar="NAME|FILE", help="Report the layers of a model, of the catalogue or from a file.")
@click.option("--ops", is_flag=True, help="Of --model: every op of every layer too.")
@click.option("--seq-len", metavar="N", help="Of --model: tokens of one sequence.")
@click.option("--image-size", metavar="N", help="Of --model: side of an image in pixels.")
@fine_tuning_options
@JSON
@OUT
@CATALOG
def catalog(
    kind: str | None, name: str | None, model: str | None, ops: bool, as_json: bool, out: str | None,
    **changes: str | None,
) -> int:  # fmt: skip
    """List what ships, or show every fact of one entry with its source.

    KIND is chips, links, servers, systems, models or stacks. With --model: parameters, work, activations, arithmetic
    intensity and work per byte of gradient of every layer.
    """
    problems = output_problems(None, [out])
    if problems:
        raise InputError(*problems)
    asked = {key: value for key, value in changes.items() if value is not None}
    if model is not None:
        if kind is not None:
            raise InputError(f"--model: is given with the kind {ascii(kind)[:80]}; legal: one of them.")
        deliver(_layers(model, asked, ops=ops, as_json=as_json), out)
        return 0
    if asked or ops:
        words = ", ".join(f"--{key.replace('_', '-')}" for key in (*asked, *(["ops"] if ops else [])))
        raise InputError(f"{words}: only with --model; legal there.")
    from hwmodels.datafile import did_you_mean

    from ..report.catalog_text import KINDS, entries, listing

    if kind is None:
        deliver(as_json_text({"kinds": list(KINDS)}) if as_json else "".join(f"{word}\n" for word in KINDS), out)
        return 0
    if kind not in KINDS:
        near = did_you_mean(kind, KINDS)
        raise InputError(f"catalog: there is no kind {ascii(kind)[:80]}; legal: {', '.join(KINDS)}.{near}")
    if name is None:
        found = listing(kind)
        deliver(as_json_text(list(found.values)) if as_json else found.text(), out)
        return 0
    shown = entries(kind, name)
    deliver(as_json_text([e.as_mapping() for e in shown]) if as_json else "\n".join(e.text() for e in shown), out)
    return 0


def _layers(name: str, asked: dict[str, str], *, ops: bool, as_json: bool) -> str:
    """The report of layers, after every problem of the question has been found."""
    from ..report.layers_text import layers_mapping, layers_text

    workload = network_of({"model": name, **asked})
    return as_json_text(layers_mapping(workload, ops=ops)) if as_json else layers_text(workload, ops=ops)
