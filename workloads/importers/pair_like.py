"""Configurations of encoder-decoders (T5, BART) and of the vision transformer -> a workload of a given length.

Defaults are those of the configuration classes of Hugging Face transformers 4.57, for keys that a file leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from workloads.encoder_decoder import RELATIVE_BUCKETS, encoder_decoder
from workloads.importers.fields import Fields
from workloads.importers.llama_like import activation, dropped, per_head
from workloads.op import WorkloadError
from workloads.vision_transformer import vision_transformer
from workloads.workload import Workload


@dataclass(frozen=True, kw_only=True)
class Pair:
    """An encoder and a decoder by the options of `encoder_decoder`; the target is as long as the source."""

    options: Mapping[str, Any]
    longest: int = 0

    def build(self, *, name: str, seq_len: int, source: str, assumed: tuple[str, ...]) -> Workload:
        """The workload of one pair of sequences of ``seq_len`` each.

        Raises
        ------
        WorkloadError
            For a sequence longer than the position table.
        """
        if self.longest and seq_len > self.longest:
            raise WorkloadError(f"{name}: seq_len {seq_len} is longer than the {self.longest} positions it has.")
        made = encoder_decoder(**self.options, seq_len=seq_len, target_len=seq_len)
        noted = (*assumed, "the target is as long as the source")
        return replace(made, name=name, source=source, assumed=noted)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A vision transformer by the options of `vision_transformer`."""

    options: Mapping[str, Any]
    longest: int = 0

    def build(self, *, name: str, seq_len: int, source: str, assumed: tuple[str, ...]) -> Workload:
        """The workload of one picture; ``seq_len`` means nothing here."""
        made = vision_transformer(**self.options)
        return replace(made, name=name, source=source, assumed=())


def _t5(*, tied: bool, projection: str) -> Callable[[Fields], Pair]:
    def read(fields: Fields) -> Pair:
        legal = {"relu": "relu", "gated-gelu": "geglu", "gated-silu": "swiglu", "gelu": "gelu"}
        word = fields.word("feed_forward_proj", legal=legal, default=projection)
        if fields.count("relative_attention_num_buckets", default=RELATIVE_BUCKETS) != RELATIVE_BUCKETS:
            fields.problem("relative_attention_num_buckets", f"is not {RELATIVE_BUCKETS}; no other number is imported.")
        fields.skip("relative_attention_max_distance", "dense_act_fn", "is_gated_act", "n_positions", "output_past")
        layers = fields.count("num_layers", default=6, most=10_000)
        architecture(fields, "ForConditionalGeneration")
        return Pair(
            options={
                "layers": layers,
                "decoder_layers": fields.count("num_decoder_layers", default=layers, most=10_000),
                "hidden": fields.count("d_model", default=512),
                "heads": fields.count("num_heads", default=8),
                "head_dim": fields.count("d_kv", default=64),
                "ffn": fields.count("d_ff", default=2048),
                "vocab": fields.count("vocab_size"),
                "activation": legal[word],
                "norm": "rmsnorm",
                "norm_position": "pre",
                "positions": "relative",
                "tied_embeddings": fields.flag("tie_word_embeddings", default=tied),
                "biases": False,
                "dropout": dropped(fields, "dropout_rate", default=0.1),
                "inner_dropout": dropped(fields, "dropout_rate", default=0.1),
            }
        )

    return read


def _bart(norm_position: str) -> Callable[[Fields], Pair]:
    def read(fields: Fields) -> Pair:
        hidden, heads = fields.count("d_model", default=1024), fields.count("encoder_attention_heads", default=16)
        ffn = fields.count("encoder_ffn_dim", default=4096)
        for key, other, same in (("decoder_attention_heads", 16, heads), ("decoder_ffn_dim", 4096, ffn)):
            if fields.count(key, default=other) != same:
                fields.problem(key, f"is not {same} as the encoder's; only alike stacks are imported.")
        longest = fields.count("max_position_embeddings", default=1024)
        per_head(fields, hidden, heads)
        architecture(fields, "ForConditionalGeneration")
        fields.skip("num_hidden_layers", "scale_embedding", "encoder_layerdrop", "decoder_layerdrop", "init_std")
        fields.skip(
            "classif_dropout", "normalize_before", "normalize_embedding", "add_bias_logits", "add_final_layer_norm"
        )
        fields.skip("static_position_embeddings", "extra_pos_embeddings")
        return Pair(
            longest=longest,
            options={
                "layers": fields.count("encoder_layers", default=12, most=10_000),
                "decoder_layers": fields.count("decoder_layers", default=12, most=10_000),
                "hidden": hidden,
                "heads": heads,
                "ffn": ffn,
                "vocab": fields.count("vocab_size"),
                "activation": activation(fields, "activation_function", default="gelu", gated=False),
                "norm_position": norm_position,
                "positions": "learned",
                "max_positions": longest + 2,
                "embedding_norm": True,
                "tied_embeddings": fields.flag("tie_word_embeddings", default=True),
                "dropout": dropped(fields, "dropout", default=0.1),
                "inner_dropout": dropped(fields, "activation_dropout"),
            },
        )

    return read


def architecture(fields: Fields, ending: str) -> None:
    """A problem where ``architectures`` names another head than the one that is laid out."""
    words = fields.items("architectures", kind=str, most=100)
    if words and not words[0].endswith(ending):
        fields.problem("architectures", f"only networks that end in {ending} are imported for this kind.")


def _vit(fields: Fields) -> Picture:
    if not fields.flag("qkv_bias", default=True):
        fields.problem("qkv_bias", "is false; only with biases are vision transformers imported.")
    if fields.count("num_channels", default=3) != 3:
        fields.problem("num_channels", "is not 3; only pictures of three colours are imported.")
    hidden, heads = fields.count("hidden_size", default=768), fields.count("num_attention_heads", default=12)
    image, patch = fields.count("image_size", default=224, most=65_536), fields.count("patch_size", default=16)
    if image % patch:
        fields.problem("patch_size", f"is {patch}, which does not divide the picture's {image} pixels.")
    per_head(fields, hidden, heads)
    architecture(fields, "ForImageClassification")
    fields.skip("encoder_stride", "pooler_output_size", "pooler_act", "tie_word_embeddings")
    labels = fields.data.get("id2label")
    attention, rest = dropped(fields, "attention_probs_dropout_prob"), dropped(fields, "hidden_dropout_prob")
    return Picture(
        options={
            "layers": fields.count("num_hidden_layers", default=12, most=10_000),
            "hidden": hidden,
            "heads": heads,
            "ffn": fields.count("intermediate_size", default=3072),
            "patch": patch,
            "image_size": image,
            "num_classes": max(len(labels), 1) if isinstance(labels, dict) else fields.count("num_labels", default=2),
            "activation": activation(fields, "hidden_act", default="gelu", gated=False),
            "drops": attention or rest,
        }
    )


#: ``model_type`` -> reader.
FAMILIES: Final[Mapping[str, Callable[[Fields], Pair | Picture]]] = {
    "t5": _t5(tied=True, projection="relu"),
    "mt5": _t5(tied=False, projection="gated-gelu"),
    "bart": _bart("post"),
    "mbart": _bart("pre"),
    "vit": _vit,
}
