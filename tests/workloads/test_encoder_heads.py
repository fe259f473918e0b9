"""ELECTRA and fine-tuned BERTs against the counts of Hugging Face's models."""

from typing import Any

import pytest

from workloads.electra import electra
from workloads.op import WorkloadError
from workloads.transformer import bert
from workloads.workload import Workload

BASE: dict[str, Any] = {"layers": 12, "hidden": 768, "heads": 12}
LARGE: dict[str, Any] = {"layers": 24, "hidden": 1024, "heads": 16}


@pytest.mark.parametrize(
    ("workload", "parameters"),
    [
        # BertForQuestionAnswering and BertForSequenceClassification.
        (bert(name="x", **BASE, task="span"), 108_893_186),
        (bert(name="x", **LARGE, task="span"), 334_094_338),
        (bert(name="x", **BASE, task="classification"), 109_483_778),
        (bert(name="x", **BASE, task="classification", classes=3), 109_484_547),
        (electra(task="span"), 108_893_186),
    ],
    ids=["base span", "large span", "base 2 classes", "base 3 classes", "ELECTRA span"],
)
def test_fine_tuned_models_have_the_published_counts(workload: Workload, parameters: int) -> None:
    assert workload.parameters == parameters
    assert not workload.tied_embeddings


def test_electra_is_its_generator_and_its_discriminator() -> None:
    # ElectraModel (generator) 33,511,168 and ElectraForPreTraining 109,483,009 share the 23,837,184 of their tables;
    # the generator's head is a transform to the table's width, its norm and a bias for each word.
    head = (256 * 768 + 768) + 2 * 768 + 30522
    assert electra().parameters == 33_511_168 + 109_483_009 - 23_837_184 + head


def test_electra_works_as_the_two_encoders_do() -> None:
    small = bert(name="x", layers=12, hidden=256, heads=4, ffn=1024, seq_len=128)
    large = bert(name="x", **BASE, seq_len=128)
    layers = {layer.name: layer for layer in electra(seq_len=128).layers}
    assert layers["generator"].forward_flop == small.layers[1].forward_flop
    assert layers["discriminator"].ops == large.layers[1].ops
    assert layers["generator head"].forward_flop == 2 * 20 * (256 * 768 + 768 * 30522)
    assert layers["head"].forward_flop == 2 * 128 * (768 * 768 + 768)


def test_fine_tuning_does_not_meet_the_vocabulary() -> None:
    tuned, trained = bert(name="x", **BASE, task="span"), bert(name="x", **BASE)
    assert tuned.layers[1] == trained.layers[1]
    assert tuned.layers[2].forward_flop == 2 * 512 * 768 * 2
    assert all(op.split != "vocab" for op in tuned.layers[2].ops)


def test_unknown_tasks_and_sizes_are_refused() -> None:
    with pytest.raises(WorkloadError, match=r"task is 'ner'. Legal: pretraining, span, classification"):
        bert(name="x", **BASE, task="ner")
    with pytest.raises(WorkloadError, match=r"task is 'ner'. Legal"):
        electra(task="ner")
    with pytest.raises(WorkloadError, match="generator_hidden 250 must divide by 4 heads"):
        electra(generator_hidden=250)
