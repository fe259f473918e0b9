"""Asynchronous updates in plans: equal to events without spread, stated staleness, only where they are pinned."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from simulator.calibration_data import load
from simulator.cli import cli
from simulator.events import simulate
from simulator.events.modes import run_mode
from simulator.job import Job, resolve
from simulator.modes import ModeJob, Spread
from simulator.planner import plan
from simulator.pricing import server_exchange_of
from simulator.query import PlanQuery, QueryError, query_from_mapping
from simulator.ranking import Search, search

CONSTANTS = load().constants
IMAGES = {"model": "resnet50", "system": "dgx1-v100", "chips": 64, "global_batch": 4096}
APART = {"updates": "asynchronous", "sharding": "none"}


def query(job: dict[str, Any], **pins: Any) -> PlanQuery:
    return query_from_mapping({"job": job, "strategy": pins}, where="a test")


def found(job: dict[str, Any], **pins: Any) -> tuple[Job, Search]:
    resolved = resolve(query(job, **pins))
    return resolved, search(resolved, CONSTANTS)


@pytest.mark.parametrize("servers", [1, 3, 8])
@pytest.mark.parametrize(
    "job",
    [
        IMAGES,
        IMAGES | {"model": "vgg16"},
        IMAGES | {"system": "p2.16xlarge", "global_batch": 2048},
        IMAGES | {"system": "cori-knl", "chips": 16, "global_batch": 256},
        {"model": "bert-large", "system": "selene", "chips": 64, "global_batch": 512},
    ],
    ids=lambda job: f"{job['model']} on {job['system']}",
)
def test_the_closed_form_is_the_events_of_equal_workers(job: dict[str, Any], servers: int) -> None:
    hosts = 4 if job["system"] == "p2.16xlarge" else 8
    _, ranking = found(job, parameter_servers=min(servers, hosts), **APART)
    for place in range(min(len(ranking.order), 3)):
        step, strategy = ranking.step(place), ranking.parallelism(place)
        exchange = server_exchange_of(ranking.steps.lowered.take(ranking.order[place : place + 1]), CONSTANTS)
        names = ("push_s", "pull_s", "push_port_s", "pull_port_s")
        run = run_mode(
            ModeJob(
                mode="asynchronous", workers=strategy.dp, compute=Spread(mean_s=step.total_s - step.part_s("data")),
                batch=job["global_batch"] // strategy.dp,
                **{name: float(getattr(exchange.times, name)[0]) for name in names},
            ),
            updates=200,
        )  # fmt: skip
        assert job["global_batch"] / run.samples_per_s == pytest.approx(step.total_s, rel=1e-8)
        assert simulate(ranking.spec(place)).total_ps == step.total_ps


def test_a_plan_says_how_stale_gradients_are_and_that_their_cost_is_unknown() -> None:
    report = plan(query(IMAGES, parameter_servers=2, **APART))
    best = report.ranked[0]
    assert best.asynchronous is not None
    assert best.asynchronous.workers == 64
    assert best.asynchronous.staleness == 63.0
    assert best.asynchronous.binds == "servers"
    assert best.asynchronous.server_utilisation == pytest.approx(1.0)
    assert best.low_s is None  # no run without barriers was ever checked
    assert any("63 updates old" in line and "unknown" in line for line in report.warnings)
    # Parameters in fp32 and momentum, over two servers.
    assert best.asynchronous.server_byte == pytest.approx(8.0 * report.parameters / 2, rel=0.01)


def test_the_state_of_the_optimizer_leaves_the_chips_for_the_servers() -> None:
    job = {"model": "bert-large", "system": "selene", "chips": 16, "global_batch": 128}
    (_, together), (_, apart) = found(job, sharding="none", tp=1), found(job, tp=1, **APART)
    assert np.all(apart.everything_memory.optimizer_byte == 0.0)
    assert np.all(apart.everything_memory.master_byte == 0.0)
    assert np.all(together.everything_memory.optimizer_byte > 0.0)


def test_nobody_is_made_asynchronous_who_did_not_ask() -> None:
    _, ranking = found(IMAGES)
    assert not np.any(ranking.everything.columns["updates"])
    _, asked = found(IMAGES, updates="asynchronous")
    assert np.all(asked.everything.columns["updates"] == 1)
    assert np.all(asked.everything.columns["parameter_servers"] == 8)  # more servers are never slower
    assert len(asked.order)


def test_more_servers_are_never_slower_and_half_the_bytes_never_either() -> None:
    def step_s(**pins: Any) -> float:
        return found(IMAGES | {"model": "vgg16"}, **APART, **pins)[1].step(0).total_s

    by_servers = [step_s(parameter_servers=servers) for servers in range(1, 9)]
    assert by_servers == sorted(by_servers, reverse=True)
    assert step_s(parameter_servers=2, compression="fp16") <= by_servers[1]


@pytest.mark.parametrize(
    ("pins", "words"),
    [
        ({"parameter_servers": 0}, "nobody takes a push"),
        ({"parameter_servers": 2, "pp": 2}, "with pp=2"),
        ({"parameter_servers": 2, "local_steps": 4}, "with local_steps=4"),
        ({"parameter_servers": 2, "offload": "optimizer"}, "the servers update"),
        ({"parameter_servers": 2, "sharding": "zero1"}, "parameter_servers=2 with sharding zero1"),
        ({"updates": "asinchronous"}, "legal: synchronous, asynchronous. Did you mean 'asynchronous'"),
    ],
)
def test_what_cannot_be_asynchronous_is_refused_with_what_is_legal(pins: dict[str, Any], words: str) -> None:
    with pytest.raises(QueryError) as refusal:
        query(IMAGES, **({"updates": "asynchronous"} | pins))
    text = str(refusal.value)
    assert words in text
    assert "legal: " in text


def run(*args: str) -> Result:
    flags = [word for key, value in IMAGES.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    result = CliRunner().invoke(cli, ["modes", *flags, *args])
    assert "Traceback" not in result.output
    assert "a fault of ours" not in result.output
    return result


MODES = {
    "synchronous": [], "asynchronous": [], "stale-synchronous": ["--bound", "2"], "gossip": [],
    "groups": ["--groups", "8"], "local-sgd": ["--period", "8"], "elastic-averaging": ["--period", "8"],
}  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_a_job_runs_in_every_mode_and_text_and_json_say_the_same(mode: str) -> None:
    flags = ["--mode", mode, *MODES[mode], "--spread", "gamma:0.3", "--updates", "640", "--seed", "3"]
    text, told = run(*flags), run(*flags, "--json")
    assert text.exit_code == told.exit_code == 0, text.output
    value = json.loads(told.stdout)
    assert value["mode"] == mode
    assert value["workers"] == 64
    assert sum(value["events"]["staleness"].values()) == value["updates"]
    assert f"{value['events']['samples_per_s']:,.0f}"[:2] in text.stdout
    expected = {"asynchronous": 63.0, "elastic-averaging": 63.0, "groups": 7.0, "synchronous": 0.0, "local-sgd": 0.0}
    if mode in expected:
        assert value["events"]["mean_staleness"] == pytest.approx(expected[mode], abs=2.0)
    assert run(*flags, "--json").stdout == told.stdout


def test_backups_can_be_chosen_for_the_most_samples() -> None:
    flags = ("--mode", "synchronous", "--spread", "lognormal:0.4", "--updates", "400", "--json")
    best, none = (json.loads(run(*flags, *more).stdout) for more in (("--backups", "best"), ()))
    assert best["backups"] > 0
    assert best["events"]["samples_per_s"] > none["events"]["samples_per_s"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--mode", "asinchronous"], "Did you mean 'asynchronous'"),
        (["--mode", "hogwild"], "threads of one memory"),
        (["--bound", "3"], "--mode: missing; legal: synchronous"),
        (["--mode", "asynchronous", "--bound", "3"], "bound belongs to mode stale-synchronous"),
        (["--mode", "groups", "--groups", "7"], "does not divide 64 workers; nearest: 8"),
        (["--mode", "asynchronous", "--spread", "normal:0.1"], "--spread: is 'normal:0.1'; legal: constant"),
        (["--mode", "asynchronous", "--spread", "gamma:wide"], "--spread: is 'gamma:wide'"),
        (["--mode", "asynchronous", "--updates", "1e3"], "--updates: is '1e3'; legal: a whole number"),
        (["--mode", "asynchronous", "--trace", "x.json"], "no such option '--trace'"),
        (["--mode", "asynchronous", "--set", "pp=2"], "legal: updates synchronous, or pp 1"),
    ],
)
def test_a_mode_that_cannot_be_asked_for_is_one_clear_line(flags: list[str], words: str) -> None:
    result = run(*flags)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert words in result.stderr
