"""Configurations of decoders in the line of GPT-2: layer norms, biases, learned positions -> `Decoder`.

Defaults are those of the configuration classes of Hugging Face transformers 4.57, for keys that a file leaves out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from workloads.importers.decoder import Decoder
from workloads.importers.fields import Fields
from workloads.importers.llama_like import Reader, activation, check_groups, dropped, per_head


def _gpt2_sizes(fields: Fields) -> dict[str, Any]:
    hidden, heads = (
        fields.count("n_embd", "hidden_size", default=768),
        fields.count("n_head", "num_attention_heads", default=12),
    )
    fields.skip("n_ctx", "n_positions", "max_position_embeddings", "layer_norm_epsilon", "rotary", "rotary_dim")
    fields.skip("summary_type", "summary_use_proj", "summary_activation", "summary_first_dropout")
    fields.skip("summary_proj_to_labels", "scale_attn_weights", "scale_attn_by_inverse_layer_idx")
    fields.skip("reorder_and_upcast_attn", "attention_softmax_in_fp32", "scale_attention_softmax_in_fp32")
    return {
        "vocab": fields.count("vocab_size"),
        "hidden": hidden,
        "heads": heads,
        "kv_heads": heads,
        "head_dim": per_head(fields, hidden, heads),
        "layers": fields.count("n_layer", "num_hidden_layers", most=10_000),
        "ffn": fields.count("n_inner", default=4 * hidden),
        "activation": activation(fields, "activation_function", default="gelu_new", gated=False),
        "norm": "layernorm",
        "attention_dropout": dropped(fields, "attn_pdrop", default=0.1),
        "hidden_dropout": dropped(fields, "resid_pdrop", default=0.1),
        "embedding_dropout": dropped(fields, "embd_pdrop", default=0.1),
    }


def _biased(word: bool = True) -> dict[str, Any]:
    return {"qkv_bias": word, "output_bias": word, "mlp_bias": word}


def _gpt2(fields: Fields) -> Decoder:
    rows = fields.count("n_positions", "max_position_embeddings", "n_ctx", default=1024)
    found = _gpt2_sizes(fields)
    if fields.flag("add_cross_attention", default=False):
        fields.problem("add_cross_attention", "is true; a decoder that reads an encoder is not imported.")
    tied = fields.flag("tie_word_embeddings", default=True)
    return Decoder(**found, **_biased(), tied=tied, rotary=False, position_rows=rows, longest=rows)


def _gpt_bigcode(fields: Fields) -> Decoder:
    rows = fields.count("n_positions", "max_position_embeddings", default=1024)
    found = _gpt2_sizes(fields)
    found["kv_heads"] = 1 if fields.flag("multi_query", default=True) else found["heads"]
    fields.skip(
        "num_key_value_heads", "inference_runner", "pre_allocate_kv_cache", "max_batch_size", "max_sequence_length"
    )
    fields.skip("validate_runner_input", "pad_key_length")
    tied = fields.flag("tie_word_embeddings", default=True)
    return Decoder(**found, **_biased(), tied=tied, rotary=False, position_rows=rows, longest=rows)


def _gptj(fields: Fields) -> Decoder:
    found = _gpt2_sizes(fields)
    for word, key in (
        ("attention_dropout", "attn_pdrop"),
        ("hidden_dropout", "resid_pdrop"),
        ("embedding_dropout", "embd_pdrop"),
    ):
        found[word] = dropped(fields, key)
    fields.skip("gradient_checkpointing")
    return Decoder(
        **found,
        tied=fields.flag("tie_word_embeddings", default=False),
        block="parallel_one_norm",
        mlp_bias=True,
        head_bias=True,
    )


def _gpt_neo(fields: Fields) -> Decoder:
    hidden, heads = fields.count("hidden_size"), fields.count("num_heads", "num_attention_heads")
    layers = fields.count("num_layers", "num_hidden_layers", most=10_000)
    rows = fields.count("max_position_embeddings", default=2048)
    window = fields.count("window_size", default=256)
    kinds = fields.items("attention_layers", kind=str) or _pattern(fields, layers)
    fields.skip(
        "layer_norm_epsilon", "summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels"
    )
    fields.skip("summary_first_dropout", "attention_types", "gradient_checkpointing", "tokenizer_class")
    if len(kinds) != layers or not set(kinds) <= {"global", "local"}:
        fields.problem("attention_layers", f"expected {layers} words out of global, local.")
        kinds = ["global"] * layers
    return Decoder(
        vocab=fields.count("vocab_size"),
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=heads,
        head_dim=per_head(fields, hidden, heads),
        ffn=fields.count("intermediate_size", default=4 * hidden),
        activation=activation(fields, "activation_function", default="gelu_new", gated=False),
        norm="layernorm",
        tied=fields.flag("tie_word_embeddings", default=True),
        output_bias=True,
        mlp_bias=True,
        rotary=False,
        position_rows=rows,
        longest=rows,
        windows=tuple(window if kind == "local" else 0 for kind in kinds),
        attention_dropout=dropped(fields, "attention_dropout"),
        hidden_dropout=dropped(fields, "resid_dropout"),
        embedding_dropout=dropped(fields, "embed_dropout"),
    )


def _pattern(fields: Fields, layers: int) -> list[str]:
    """``[[["global", "local"], 12]]``: lists of words, each repeated so often."""
    kinds: list[str] = []
    for part in fields.items("attention_types", kind=list, most=1000):
        legal = len(part) == 2 and isinstance(part[0], list) and type(part[1]) is int and 0 < part[1] <= layers
        if not legal or not all(isinstance(word, str) for word in part[0]) or len(part[0]) > layers:
            fields.problem("attention_types", 'expected pairs such as [["global", "local"], 12].')
            return ["global"] * layers
        kinds += part[0] * part[1]
        if len(kinds) > layers:
            break
    return kinds or ["global", "local"] * (layers // 2) + ["global"] * (layers % 2)


def _gpt_neox(fields: Fields) -> Decoder:
    hidden, heads = fields.count("hidden_size"), fields.count("num_attention_heads")
    biased = fields.flag("attention_bias", default=True)
    parallel = fields.flag("use_parallel_residual", default=True)
    fields.skip("max_position_embeddings", "rotary_pct", "rotary_emb_base", "layer_norm_eps")
    return Decoder(
        vocab=fields.count("vocab_size"),
        hidden=hidden,
        layers=fields.count("num_hidden_layers", most=10_000),
        heads=heads,
        kv_heads=heads,
        head_dim=per_head(fields, hidden, heads),
        ffn=fields.count("intermediate_size", default=4 * hidden),
        activation=activation(fields, "hidden_act", default="gelu", gated=False),
        norm="layernorm",
        tied=fields.flag("tie_word_embeddings", default=False),
        block="parallel" if parallel else "serial",
        qkv_bias=biased,
        output_bias=biased,
        mlp_bias=True,
        attention_dropout=dropped(fields, "attention_dropout"),
        hidden_dropout=dropped(fields, "hidden_dropout"),
    )


def _falcon(fields: Fields) -> Decoder:
    hidden = fields.count("hidden_size", "n_embed", default=4544)
    heads = fields.count("num_attention_heads", "n_head", default=71)
    new = fields.flag("new_decoder_architecture", default=False)
    parallel = fields.flag("parallel_attn", default=True) or new
    shared = fields.flag("multi_query", default=True)
    kv_heads = fields.count("num_kv_heads", "n_head_kv", default=heads)
    kv_heads = kv_heads if new else 1 if shared else heads
    norms = fields.count("num_ln_in_parallel_attn", default=2 if new else 1, most=2)
    biased = fields.flag("bias", default=False)
    alibi = fields.flag("alibi", default=False)
    fields.skip("layer_norm_epsilon", "max_position_embeddings", "apply_residual_connection_post_layernorm")
    check_groups(fields, heads, kv_heads)
    return Decoder(
        vocab=fields.count("vocab_size", default=65024),
        hidden=hidden,
        layers=fields.count("num_hidden_layers", "n_layer", most=10_000),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=per_head(fields, hidden, heads),
        ffn=fields.count("ffn_hidden_size", default=4 * hidden),
        activation=activation(fields, "activation", default="gelu", gated=False),
        norm="layernorm",
        tied=fields.flag("tie_word_embeddings", default=True),
        block="serial" if not parallel else "parallel" if norms == 2 and new else "parallel_one_norm",
        **_biased(biased),
        rotary=not alibi,
        attention_dropout=dropped(fields, "attention_dropout"),
        hidden_dropout=dropped(fields, "hidden_dropout"),
    )


def _bloom(fields: Fields) -> Decoder:
    hidden = fields.count("hidden_size", "n_embed")
    heads = fields.count("n_head", "num_attention_heads")
    fields.skip("layer_norm_epsilon", "apply_residual_connection_post_layernorm", "seq_length", "slow_but_exact")
    fields.skip("attention_softmax_in_fp32", "bias_dropout_fusion", "masked_softmax_fusion", "skip_bias_add")
    fields.skip("skip_bias_add_qkv", "unk_token_id", "offset_alibi")
    return Decoder(
        vocab=fields.count("vocab_size"),
        hidden=hidden,
        layers=fields.count("n_layer", "num_hidden_layers", most=10_000),
        heads=heads,
        kv_heads=heads,
        head_dim=per_head(fields, hidden, heads),
        ffn=fields.count("n_inner", default=4 * hidden),
        activation="gelu",
        norm="layernorm",
        tied=fields.flag("tie_word_embeddings", default=True),
        embedding_norm=True,
        **_biased(),
        rotary=False,
        attention_dropout=dropped(fields, "attention_dropout"),
        hidden_dropout=dropped(fields, "hidden_dropout"),
    )


def _mpt(fields: Fields) -> Decoder:
    hidden, heads = fields.count("d_model"), fields.count("n_heads")
    ratio = fields.count("expansion_ratio", default=4)
    if not fields.flag("no_bias", default=True):
        fields.problem("no_bias", "is false; only networks without biases are imported.")
    attention = fields.table("attn_config")
    attention_dropout = False
    if attention is not None:
        attention_dropout = dropped(attention, "attn_pdrop")
        if not attention.flag("alibi", default=True):
            attention.problem("alibi", "is false; only linear biases of attention are imported.")
        if attention.flag("qk_ln", default=False):
            attention.problem("qk_ln", "is true; norms of queries and keys are not imported for this kind.")
        attention.word("attn_type", legal=("multihead_attention",), default="multihead_attention")
    fields.skip("max_seq_len", "learned_pos_emb", "emb_pdrop", "init_config", "init_device", "logit_scale", "verbose")
    fields.skip("layer_norm_epsilon", "norm_type", "embedding_fraction", "tokenizer_name")
    return Decoder(
        vocab=fields.count("vocab_size"),
        hidden=hidden,
        layers=fields.count("n_layers", most=10_000),
        heads=heads,
        kv_heads=heads,
        head_dim=per_head(fields, hidden, heads),
        ffn=ratio * hidden,
        activation="gelu",
        norm="layernorm_no_bias",
        tied=fields.flag("tie_word_embeddings", default=True),
        rotary=False,
        attention_dropout=attention_dropout,
        hidden_dropout=dropped(fields, "resid_pdrop"),
    )


def _opt(fields: Fields) -> Decoder:
    hidden, heads = fields.count("hidden_size"), fields.count("num_attention_heads")
    rows = fields.count("max_position_embeddings", default=2048)
    before = fields.flag("do_layer_norm_before", default=True)
    removed = fields.flag("_remove_final_layer_norm", default=False)
    affine = fields.flag("layer_norm_elementwise_affine", default=True)
    fields.skip("layerdrop", "init_std", "activation_dropout", "output_projection", "share_decoder_input_output_embed")
    width = fields.count("word_embed_proj_dim", default=hidden)
    return Decoder(
        vocab=fields.count("vocab_size"),
        hidden=hidden,
        layers=fields.count("num_hidden_layers", most=10_000),
        heads=heads,
        kv_heads=heads,
        head_dim=per_head(fields, hidden, heads),
        ffn=fields.count("ffn_dim", default=4 * hidden),
        activation=activation(fields, "activation_function", default="relu", gated=False),
        norm="layernorm" if affine else "plain",
        tied=fields.flag("tie_word_embeddings", default=True),
        embedding_width=0 if width == hidden else width,
        position_rows=rows + 2,
        longest=rows,
        rotary=False,
        block="serial" if before else "post",
        final_norm=before and not removed,
        **_biased(fields.flag("enable_bias", default=True)),
        attention_dropout=dropped(fields, "attention_dropout"),
        hidden_dropout=dropped(fields, "dropout", default=0.1),
    )


#: ``model_type`` -> reader.
FAMILIES: Final[Mapping[str, Reader]] = {
    "gpt2": _gpt2,
    "gpt_bigcode": _gpt_bigcode,
    "gpt_neo": _gpt_neo,
    "gpt_neox": _gpt_neox,
    "gptj": _gptj,
    "codegen": _gptj,
    "falcon": _falcon,
    "bloom": _bloom,
    "mpt": _mpt,
    "opt": _opt,
}
