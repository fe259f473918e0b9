"""Configurations of decoders since Llama: rotary positions, mostly gated MLPs, grouped heads -> `Decoder`.

Defaults are those of the configuration classes of Hugging Face transformers 4.57, for keys that a file leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from workloads.importers.decoder import Decoder
from workloads.importers.fields import Fields

Reader = Callable[[Fields], Decoder]

#: Activation as configurations spell it -> our word, without and with a gate; "" where we have none.
ACTIVATIONS: Final[Mapping[str, tuple[str, str]]] = {
    "gelu": ("gelu", "geglu"),
    "gelu_new": ("gelu", "geglu"),
    "gelu_fast": ("gelu", "geglu"),
    "gelu_pytorch_tanh": ("gelu", "geglu"),
    "quick_gelu": ("quick_gelu", ""),
    "relu": ("relu", ""),
    "relu2": ("squared_relu", ""),
    "silu": ("silu", "swiglu"),
    "swish": ("silu", "swiglu"),
}


def activation(fields: Fields, *keys: str, default: str, gated: bool) -> str:
    """The activation's word."""
    legal = [word for word, pair in ACTIVATIONS.items() if pair[gated]]
    return ACTIVATIONS[fields.word(*keys, legal=legal, default=default)][gated]


def dropped(fields: Fields, *keys: str, default: float = 0.0) -> bool:
    """Whether a dropout rate is above 0."""
    return fields.number(*keys, default=default, most=1.0) > 0


def windows(fields: Fields, layers: int, *, default: int, full_every: int = 0, use: bool = True) -> tuple[int, ...]:
    """Per block the sliding window, 0 where all keys are seen.

    ``layer_types`` says so where a file has it; else every ``full_every``-th block sees all (0: none does).
    """
    window = fields.count("sliding_window", default=default, least=0)
    types = fields.items("layer_types", kind=str)
    legal = ("full_attention", "sliding_attention")
    if types and (len(types) != layers or not set(types) <= set(legal)):
        fields.problem("layer_types", f"expected {layers} words out of {', '.join(legal)}.")
        types = []
    if not use or not window:
        return ()
    if types:
        return tuple(window if word == "sliding_attention" else 0 for word in types)
    return tuple(0 if full_every and (index + 1) % full_every == 0 else window for index in range(layers))


def sizes(fields: Fields, *, kv_heads: bool = True, head_dim: int = 0) -> dict[str, Any]:
    """Sizes that nearly all configurations spell alike; a missing ``head_dim`` is hidden / heads unless given."""
    found: dict[str, Any] = {
        "vocab": fields.count("vocab_size"),
        "hidden": fields.count("hidden_size"),
        "layers": fields.count("num_hidden_layers", most=10_000),
        "heads": fields.count("num_attention_heads"),
        "ffn": fields.count("intermediate_size"),
    }
    found["kv_heads"] = fields.count("num_key_value_heads", default=found["heads"]) if kv_heads else found["heads"]
    found["head_dim"] = fields.count("head_dim", default=head_dim or per_head(fields, found["hidden"], found["heads"]))
    fields.skip("max_position_embeddings", "rms_norm_eps", "layer_norm_eps", "norm_eps", "norm_epsilon")
    check_groups(fields, found["heads"], found["kv_heads"])
    return found


def per_head(fields: Fields, hidden: int, heads: int) -> int:
    """hidden / heads; a problem where that is no whole number and the file gives no ``head_dim``."""
    if hidden % heads and not fields.has("head_dim"):
        fields.problem("", f"the hidden size {hidden} is not a multiple of {heads} heads.")
    return max(hidden // heads, 1)


def check_groups(fields: Fields, heads: int, kv_heads: int) -> None:
    """A problem where heads do not share keys and values evenly."""
    if heads % kv_heads:
        fields.problem("", f"{heads} heads are not a multiple of {kv_heads} key and value heads.")


def _llama_like(
    *,
    tied: bool = False,
    head_dim: int = 0,
    qkv_bias: bool | None = None,
    mlp_bias: bool | None = False,
    qk_norm: str = "",
    block: str = "serial",
    norm: str = "rmsnorm",
    act: str = "silu",
    gated: bool = True,
    window: int = 0,
    full_every: int = 0,
    switched_window: bool = False,
    **constants: Any,
) -> Reader:
    """A reader of configurations with Llama's keys; arguments are what a family does otherwise.

    ``qkv_bias`` None: the file's ``attention_bias`` says, for all four products. ``switched_window``: a window counts
    only with ``use_sliding_window``.
    """

    def read(fields: Fields) -> Decoder:
        found = sizes(fields, head_dim=head_dim)
        biased = fields.flag("attention_bias", default=False) if qkv_bias is None else qkv_bias
        use = fields.flag("use_sliding_window", default=False) if switched_window else True
        fields.skip("max_window_layers")
        return Decoder(
            **found,
            activation=activation(fields, "hidden_activation", "hidden_act", default=act, gated=gated),
            norm=norm,
            tied=fields.flag("tie_word_embeddings", default=tied),
            block=block,
            qkv_bias=biased,
            output_bias=biased if qkv_bias is None else False,
            mlp_bias=fields.flag("mlp_bias", default=False) if mlp_bias is None else mlp_bias,
            qk_norm=qk_norm,
            windows=windows(fields, found["layers"], default=window, full_every=full_every, use=use),
            attention_dropout=dropped(fields, "attention_dropout"),
            **constants,
        )

    return read


def _qwen2(fields: Fields) -> Decoder:
    layers = fields.count("num_hidden_layers", most=10_000)
    first = fields.count("max_window_layers", default=28, least=0)
    decoder = _llama_like(qkv_bias=True, switched_window=True)(fields)
    if decoder.windows and not fields.has("layer_types"):
        decoder = replace(decoder, windows=tuple(w if i >= first else 0 for i, w in enumerate(decoder.windows)))
    return decoder if len(decoder.windows) in (0, layers) else replace(decoder, windows=())


def _gemma2(fields: Fields) -> Decoder:
    caps = int(fields.number("final_logit_softcapping", default=30.0) > 0)
    fields.skip("attn_logit_softcapping", "query_pre_attn_scalar", "cache_implementation")
    return replace(
        _llama_like(
            tied=True, head_dim=256, qkv_bias=None, block="sandwich", act="gelu_pytorch_tanh", window=4096, full_every=2
        )(fields),
        scaled_embeddings=True,
        scaled_logits=3 * caps,
    )


def _gemma3(fields: Fields) -> Decoder:
    caps = int(fields.number("final_logit_softcapping", default=0.0) > 0)
    every = fields.count("sliding_window_pattern", "_sliding_window_pattern", default=6)
    fields.skip("attn_logit_softcapping", "query_pre_attn_scalar", "cache_implementation", "rope_local_base_freq")
    fields.skip("use_bidirectional_attention")
    return replace(
        _llama_like(
            tied=True, head_dim=256, qkv_bias=None, block="sandwich", act="gelu_pytorch_tanh", qk_norm="head",
            window=4096, full_every=every,
        )(fields),
        scaled_embeddings=True,
        scaled_logits=3 * caps,
    )  # fmt: skip


def _phi(fields: Fields) -> Decoder:
    found = sizes(fields)
    norm = "head_affine" if fields.flag("qk_layernorm", default=False) else ""
    return Decoder(
        **found,
        activation=activation(fields, "hidden_act", default="gelu_new", gated=False),
        norm="layernorm",
        tied=fields.flag("tie_word_embeddings", default=False),
        block="parallel_one_norm",
        qkv_bias=True,
        output_bias=True,
        mlp_bias=True,
        head_bias=True,
        qk_norm=norm,
        attention_dropout=dropped(fields, "attention_dropout"),
        hidden_dropout=dropped(fields, "resid_pdrop"),
        embedding_dropout=dropped(fields, "embd_pdrop"),
    )


def _phi3(fields: Fields) -> Decoder:
    fields.skip("original_max_position_embeddings")
    return replace(
        _llama_like(qkv_bias=False)(fields),
        hidden_dropout=dropped(fields, "resid_pdrop"),
        embedding_dropout=dropped(fields, "embd_pdrop"),
    )


def _starcoder2(fields: Fields) -> Decoder:
    found = sizes(fields)
    biased = fields.flag("use_bias", default=True)
    fields.skip("norm_type", "mlp_type")
    return Decoder(
        **found,
        activation=activation(fields, "hidden_act", default="gelu_pytorch_tanh", gated=False),
        norm="layernorm",
        tied=fields.flag("tie_word_embeddings", default=True),
        qkv_bias=biased,
        output_bias=biased,
        mlp_bias=biased,
        windows=windows(fields, found["layers"], default=0),
        attention_dropout=dropped(fields, "attention_dropout"),
        hidden_dropout=dropped(fields, "residual_dropout"),
        embedding_dropout=dropped(fields, "embedding_dropout"),
    )


def _stablelm(fields: Fields) -> Decoder:
    found = sizes(fields)
    parallel = fields.flag("use_parallel_residual", default=False)
    return Decoder(
        **found,
        activation=activation(fields, "hidden_act", default="silu", gated=True),
        norm="layernorm",
        tied=fields.flag("tie_word_embeddings", default=False),
        block="parallel_one_norm" if parallel else "serial",
        qkv_bias=fields.flag("use_qkv_bias", default=False),
        qk_norm="width" if fields.flag("qk_layernorm", default=False) else "",
        attention_dropout=dropped(fields, "attention_dropout"),
        hidden_dropout=dropped(fields, "hidden_dropout"),
    )


def _cohere(window: int, full_every: int) -> Reader:
    def read(fields: Fields) -> Decoder:
        every = fields.count("sliding_window_pattern", default=full_every, least=0)
        fields.skip("logit_scale", "order_of_interleaved_layers", "rotary_pct", "position_embedding_type")
        normed = fields.flag("use_qk_norm", default=False)
        return replace(
            _llama_like(tied=True, qkv_bias=None, block="parallel_one_norm", norm="layernorm_no_bias", window=window,
                        full_every=every)(fields),
            qk_norm="width" if normed else "",
            scaled_logits=1,
        )  # fmt: skip

    return read


def _granite(fields: Fields) -> Decoder:
    fields.skip("embedding_multiplier", "logits_scaling", "residual_multiplier", "attention_multiplier")
    decoder = _llama_like(qkv_bias=None, mlp_bias=None)(fields)
    return replace(decoder, scaled_embeddings=True, scaled_logits=1)


def _internlm2(fields: Fields) -> Decoder:
    biased = fields.flag("bias", default=False)
    fields.skip("attn_implementation")
    return replace(_llama_like(qkv_bias=False)(fields), qkv_bias=biased, output_bias=biased)


def _smollm3(fields: Fields) -> Decoder:
    fields.skip("no_rope_layers", "no_rope_layer_interval")
    return _llama_like(tied=True, qkv_bias=None, mlp_bias=None, switched_window=True)(fields)


def _ernie(fields: Fields) -> Decoder:
    biased = fields.flag("use_bias", default=False)
    decoder = _llama_like(tied=True, head_dim=128, qkv_bias=False)(fields)
    return replace(decoder, qkv_bias=biased, output_bias=biased, mlp_bias=biased)


def _seed_oss(fields: Fields) -> Decoder:
    out, hidden = fields.flag("attention_out_bias", default=False), dropped(fields, "residual_dropout", default=0.1)
    biased = fields.flag("attention_bias", default=True)
    decoder = _llama_like(head_dim=128, qkv_bias=biased, mlp_bias=None)(fields)
    return replace(decoder, output_bias=out, hidden_dropout=hidden)


def _glm(block: str) -> Reader:
    def read(fields: Fields) -> Decoder:
        biased = fields.flag("attention_bias", default=True)
        return _llama_like(head_dim=128, qkv_bias=biased, block=block)(fields)

    return read


def _olmo(fields: Fields) -> Decoder:
    fields.skip("clip_qkv")
    return _llama_like(qkv_bias=None, norm="plain")(fields)


#: ``model_type`` -> reader.
FAMILIES: Final[Mapping[str, Reader]] = {
    "llama": _llama_like(qkv_bias=None, mlp_bias=None),
    "mistral": _llama_like(qkv_bias=False, window=4096),
    "ministral": _llama_like(qkv_bias=False, window=4096),
    "qwen2": _qwen2,
    "qwen3": _llama_like(head_dim=128, qkv_bias=None, qk_norm="head", switched_window=True),
    "gemma": _llama_like(tied=True, head_dim=256, qkv_bias=None, act="gelu_pytorch_tanh", scaled_embeddings=True),
    "gemma2": _gemma2,
    "gemma3_text": _gemma3,
    "phi": _phi,
    "phi3": _phi3,
    "starcoder2": _starcoder2,
    "olmo": _olmo,
    "olmo2": _llama_like(qkv_bias=None, qk_norm="width", block="inner_post"),
    "olmo3": _llama_like(qkv_bias=None, qk_norm="width", block="inner_post", window=4096, full_every=4),
    "stablelm": _stablelm,
    "cohere": _cohere(0, 0),
    "cohere2": _cohere(4096, 4),
    "nemotron": _llama_like(qkv_bias=None, mlp_bias=None, norm="layernorm", act="relu2", gated=False),
    "granite": _granite,
    "internlm2": _internlm2,
    "smollm3": _smollm3,
    "ernie4_5": _ernie,
    "seed_oss": _seed_oss,
    "glm": _glm("serial"),
    "glm4": _glm("sandwich"),
}
