"""Configurations of decoders with routed experts, DeepSeek's latent attention among them -> `Decoder`.

Defaults are those of the configuration classes of Hugging Face transformers 4.57, for keys that a file leaves out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from workloads.expert_ops import RoutedMlp
from workloads.importers.decoder import Decoder
from workloads.importers.fields import Fields
from workloads.importers.llama_like import Reader, activation, dropped, sizes, windows
from workloads.latent_attention import LatentAttention


def _common(fields: Fields, *, tied: bool = False, head_dim: int = 0) -> dict[str, Any]:
    fields.skip("output_router_logits", "router_aux_loss_coef", "router_jitter_noise", "input_jitter_noise")
    fields.skip("norm_topk_prob", "routed_scaling_factor", "max_window_layers", "aux_loss_alpha", "seq_aux")
    return {
        **sizes(fields, head_dim=head_dim),
        "activation": activation(fields, "hidden_act", default="silu", gated=True),
        "norm": "rmsnorm",
        "tied": fields.flag("tie_word_embeddings", default=tied),
        "attention_dropout": dropped(fields, "attention_dropout"),
    }


def _routed(fields: Fields, *, experts: int, top_k: int, ffn: int, **options: Any) -> RoutedMlp:
    if top_k > experts:
        fields.problem("num_experts_per_tok", f"is {top_k}; at most the {experts} experts there are.")
        top_k = experts
    return RoutedMlp(experts=experts, top_k=top_k, ffn=ffn, **options)


def _every_block(
    *, experts: str = "num_local_experts", default: tuple[int, int] = (8, 2), qk_norm: str = "", biased: bool = False,
    scaled: bool = False,
) -> Reader:  # fmt: skip
    """Experts in every block, each as wide as ``intermediate_size``; ``biased``: ``attention_bias`` says."""

    def read(fields: Fields) -> Decoder:
        found = _common(fields)
        fields.skip("clip_qkv", "position_embedding_type")
        if scaled:
            fields.skip("embedding_multiplier", "logits_scaling", "residual_multiplier", "attention_multiplier")
        bias = fields.flag("attention_bias", default=False) if biased else False
        routed = _routed(
            fields,
            experts=fields.count(experts, default=default[0]),
            top_k=fields.count("num_experts_per_tok", default=default[1]),
            ffn=found["ffn"],
            activation=found["activation"],
        )
        return Decoder(
            **found, routed=routed, qk_norm=qk_norm, qkv_bias=bias, output_bias=bias,
            windows=windows(fields, found["layers"], default=0), scaled_embeddings=scaled, scaled_logits=int(scaled),
        )  # fmt: skip

    return read


def _phimoe(fields: Fields) -> Decoder:
    head = fields.flag("lm_head_bias", default=False)
    decoder = _every_block(default=(16, 2), biased=True)(fields)
    return replace(decoder, norm="layernorm", head_bias=head)


def _sparse_blocks(fields: Fields, layers: int) -> tuple[bool, ...]:
    step = fields.count("decoder_sparse_step", default=1)
    dense = set(fields.items("mlp_only_layers", kind=int))
    return tuple(index not in dense and (index + 1) % step == 0 for index in range(layers))


def _qwen2_moe(fields: Fields) -> Decoder:
    found = _common(fields)
    routed = _routed(
        fields,
        experts=fields.count("num_experts", default=60),
        top_k=fields.count("num_experts_per_tok", default=4),
        ffn=fields.count("moe_intermediate_size", default=1408),
        shared_ffn=fields.count("shared_expert_intermediate_size", default=5632),
        shared_gate=True,
        activation=found["activation"],
    )
    use = fields.flag("use_sliding_window", default=False)
    return Decoder(
        **found,
        routed=routed,
        expert_blocks=_sparse_blocks(fields, found["layers"]),
        qkv_bias=fields.flag("qkv_bias", default=True),
        windows=windows(fields, found["layers"], default=0, use=use),
    )


def _qwen3_moe(fields: Fields) -> Decoder:
    found = _common(fields)
    routed = _routed(
        fields,
        experts=fields.count("num_experts", "num_local_experts", default=128),
        top_k=fields.count("num_experts_per_tok", default=8),
        ffn=fields.count("moe_intermediate_size", default=768),
        activation=found["activation"],
    )
    biased = fields.flag("attention_bias", default=False)
    use = fields.flag("use_sliding_window", default=False)
    return Decoder(
        **found,
        routed=routed,
        expert_blocks=_sparse_blocks(fields, found["layers"]),
        qk_norm="head",
        qkv_bias=biased,
        output_bias=biased,
        windows=windows(fields, found["layers"], default=0, use=use),
    )


def _gpt_oss(fields: Fields) -> Decoder:
    found = _common(fields, head_dim=64)
    fields.skip("initial_context_length", "experts_per_token", "swiglu_limit", "attention_bias")
    routed = _routed(
        fields,
        experts=fields.count("num_local_experts", default=128),
        top_k=fields.count("num_experts_per_tok", "experts_per_token", default=4),
        ffn=found["ffn"],
        activation=found["activation"],
        router_bias=True,
        expert_biases=True,
    )
    sight = windows(fields, found["layers"], default=128, full_every=2)
    return Decoder(**found, routed=routed, qkv_bias=True, output_bias=True, sinks=True, windows=sight)


def _deepseek(*, correction: bool, query_rank: int, experts: int, shared: int, top_k: int, dense: int) -> Reader:
    def read(fields: Fields) -> Decoder:
        found = _common(fields)
        fields.skip(
            "head_dim", "qk_head_dim", "n_group", "topk_group", "topk_method", "scoring_func", "rope_interleave"
        )
        fields.skip("ep_size", "num_nextn_predict_layers", "mlp_bias")
        for key in ("attention_bias", "mlp_bias"):
            if fields.flag(key, default=False):
                fields.problem(key, "is true; only DeepSeek without biases is imported.")
        latent = LatentAttention(
            heads=found["heads"],
            # A null rank means that queries come straight from the input.
            query_rank=fields.count("q_lora_rank", default=0 if "q_lora_rank" in fields.data else query_rank, least=0),
            key_rank=fields.count("kv_lora_rank", default=512),
            head_dim=fields.count("qk_nope_head_dim", default=128),
            rotary_dim=fields.count("qk_rope_head_dim", default=64),
            value_dim=fields.count("v_head_dim", default=128),
        )
        first = fields.count("first_k_dense_replace", default=dense, least=0)
        every = fields.count("moe_layer_freq", default=1)
        width = fields.count("moe_intermediate_size")
        routed = _routed(
            fields,
            experts=fields.count("n_routed_experts", default=experts),
            top_k=fields.count("num_experts_per_tok", default=top_k),
            ffn=width,
            shared_ffn=width * fields.count("n_shared_experts", default=shared, least=0),
            correction_bias=correction,
            activation=found["activation"],
        )
        marks = tuple(index >= first and index % every == 0 for index in range(found["layers"]))
        return Decoder(**found, routed=routed, expert_blocks=marks, latent=latent)

    return read


#: ``model_type`` -> reader.
FAMILIES: Final[Mapping[str, Reader]] = {
    "mixtral": _every_block(),
    "olmoe": _every_block(experts="num_experts", default=(64, 8), qk_norm="width", biased=True),
    "granitemoe": _every_block(biased=True, scaled=True),
    "phimoe": _phimoe,
    "qwen2_moe": _qwen2_moe,
    "qwen3_moe": _qwen3_moe,
    "gpt_oss": _gpt_oss,
    "deepseek_v2": _deepseek(correction=False, query_rank=1536, experts=64, shared=2, top_k=6, dense=0),
    "deepseek_v3": _deepseek(correction=True, query_rank=1536, experts=256, shared=1, top_k=8, dense=3),
}
