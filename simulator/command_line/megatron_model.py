"""Megatron-LM's arguments of the network -> `Decoder`. Defaults are those of its ``megatron/training/arguments.py``."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Final

from workloads import catalog
from workloads.expert_ops import RoutedMlp
from workloads.importers.decoder import Decoder
from workloads.latent_attention import LatentAttention, next_token_layer
from workloads.op import WorkloadError
from workloads.workload import Workload

from .flags import Flags
from .pattern import block_pattern

#: Words of a tokenizer that is always the same.
_VOCABULARIES: Final = {"GPT2BPETokenizer": 50257, "Llama2Tokenizer": 32000, "BertWordPieceLowerCase": 30522}
_USUAL_VOCABULARY: Final = 50257


def read_network(flags: Flags, *, tp: int, program: str) -> Workload | None:
    """The network that the arguments describe; None where they are wrong, which the notebook then says."""
    before = len(flags.notes.problems)
    decoder, seq_len = _decoder(flags, tp)
    further = flags.optional("--mtp-num-layers", note="modules that predict further tokens") or 0
    if len(flags.notes.problems) > before:
        return None
    name = f"{program.removesuffix('.py')} h{decoder.hidden} L{decoder.layers} a{decoder.heads}"
    try:
        built = decoder.build(name=name, seq_len=seq_len, source="the command line", assumed=())
    except WorkloadError as error:
        flags.notes.problems.append(str(error))
        return None
    if further > 64:
        flags.notes.problems.append(f"--mtp-num-layers: is {further}; legal: at most 64.")
        return None
    return _with_further(built, further, decoder, seq_len) if further else built


def _with_further(built: Workload, further: int, decoder: Decoder, seq_len: int) -> Workload:
    block = next(layer for layer in reversed(built.layers) if layer.kind == "block")
    module = next_token_layer(block.ops, vocab=decoder.vocab, hidden=decoder.hidden, seq_len=seq_len)
    return replace(built, layers=(*built.layers[:-1], *([module] * further), built.layers[-1]))


def _decoder(flags: Flags, tp: int) -> tuple[Decoder, int]:
    layers, hidden = flags.count("--num-layers", "--encoder-num-layers"), flags.count("--hidden-size")
    heads = flags.count("--num-attention-heads")
    seq_len = flags.count("--seq-length", "--encoder-seq-length")
    longest = flags.count("--max-position-embeddings")
    activation, biased = _activation(flags), not flags.has("--disable-bias-linear")
    gated = activation in ("swiglu", "geglu")
    ffn = flags.optional("--ffn-hidden-size")
    if ffn is None:
        ffn = int((4 * hidden * 2 / 3) / 64) * 64 if activation == "swiglu" else 4 * hidden
        flags.assume("--ffn-hidden-size", max(ffn, 1), "8/3 of the hidden size, in 64s" if gated else "4 x hidden size")
    latent = _latent(flags, heads)
    head_dim = flags.optional("--kv-channels")
    if head_dim is None:
        head_dim = max(hidden // heads, 1)
        if hidden % heads and latent is None:
            flags.notes.problems.append(f"--num-attention-heads: {heads} does not divide the hidden size {hidden}.")
    if latent is not None:
        head_dim = latent.head_dim + latent.rotary_dim
    norm = flags.word("--normalization", legal=("LayerNorm", "RMSNorm"), default="LayerNorm")
    positions = _positions(flags)
    learned = positions == "learned_absolute"
    if seq_len > longest:
        flags.notes.problems.append(f"--seq-length: is {seq_len}, but --max-position-embeddings is {longest}.")
    dropout = flags.number("--hidden-dropout", default=0.1) > 0
    qk_norm = flags.has("--qk-layernorm") and latent is None
    if layers > 100_000:
        flags.notes.problems.append(f"--num-layers: is {layers}; legal: at most 100,000.")
        layers = 1
    routed, blocks = _experts(
        flags, layers=layers, ffn=max(ffn, 1), activation=activation, seq_len=seq_len, biased=biased
    )
    return Decoder(
        vocab=_vocabulary(flags, tp),
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=_groups(flags, heads, latent is not None),
        head_dim=head_dim,
        ffn=max(ffn, 1),
        activation=activation,
        norm="rmsnorm" if norm == "RMSNorm" else "layernorm",
        tied=not flags.has("--untie-embeddings-and-output-weights"),
        position_rows=longest if learned else 0,
        longest=longest,
        qkv_bias=flags.has("--add-qkv-bias") or biased,
        output_bias=biased,
        mlp_bias=biased,
        qk_norm=("head" if norm == "RMSNorm" else "head_affine") if qk_norm else "",
        rotary=positions in ("rope", "mrope"),
        sinks=flags.word("--softmax-type", legal=("learnable", "vanilla", "off-by-one")) == "learnable",
        windows=_windows(flags, layers),
        attention_dropout=flags.number("--attention-dropout", default=0.1) > 0,
        hidden_dropout=dropout,
        embedding_dropout=dropout,
        routed=routed,
        expert_blocks=blocks,
        latent=latent,
    ), seq_len


def _activation(flags: Flags) -> str:
    words = {
        "--swiglu": "swiglu", "--squared-relu": "squared_relu", "--quick-geglu": "geglu", "--geglu": "geglu",
        "--openai-gelu": "gelu",
    }  # fmt: skip
    found = [word for name, word in words.items() if flags.has(name)]
    if not found:
        flags.assume("activation", "gelu")
    return found[0] if found else "gelu"


def _positions(flags: Flags) -> str:
    legal = ("learned_absolute", "rope", "mrope", "none")
    word = flags.word("--position-embedding-type", legal=legal)
    if flags.has("--use-rotary-position-embeddings") or flags.has("--use-rope"):
        word = "rope"
    if not word and flags.has("--no-position-embedding", note="no table of positions"):
        word = "rope"
    if not word:
        flags.assume("--position-embedding-type", "learned_absolute", "a table of positions")
    return word or "learned_absolute"


def _groups(flags: Flags, heads: int, latent: bool) -> int:
    grouped = flags.has("--group-query-attention")
    groups = flags.optional("--num-query-groups", "--num-key-value-heads")
    if latent or (not grouped and "--num-key-value-heads" not in flags.given):
        if groups not in (None, heads) and not latent:
            flags.notes.note("ignored", "--num-query-groups", groups, "without --group-query-attention it is not used")
        return heads
    if groups is None:
        flags.assume("--num-query-groups", 1)
        groups = 1
    if heads % groups:
        flags.notes.problems.append(f"--num-query-groups: {groups} does not divide {heads} attention heads.")
        return heads
    return groups


def _latent(flags: Flags, heads: int) -> LatentAttention | None:
    if not flags.has("--multi-latent-attention"):
        return None
    found = LatentAttention(
        heads=heads,
        query_rank=flags.optional("--q-lora-rank") or 0,
        key_rank=flags.count("--kv-lora-rank", default=32),
        head_dim=flags.count("--qk-head-dim", default=128),
        rotary_dim=flags.count("--qk-pos-emb-head-dim", default=64),
        value_dim=flags.count("--v-head-dim", default=128),
    )
    if "--qk-layernorm" not in flags.given:
        flags.notes.note("assumed", "--qk-layernorm", "true", "norms of the latents, as every published model has them")
    return found


def _experts(
    flags: Flags, *, layers: int, ffn: int, activation: str, seq_len: int, biased: bool
) -> tuple[RoutedMlp | None, tuple[bool, ...]]:
    experts = flags.optional("--num-experts", least=0)
    if not experts:
        return None, ()
    top_k = flags.count("--moe-router-topk", "--topk", default=2)
    inner = flags.optional("--moe-ffn-hidden-size")
    if inner is None:
        inner = ffn
        flags.assume("--moe-ffn-hidden-size", ffn, "the inner width of one expert")
    rows = 0
    if flags.has("--moe-pad-expert-input-to-capacity"):
        factor = flags.number("--moe-expert-capacity-factor", default=1.0)
        rows = math.ceil(min(factor, 1e6) * seq_len * top_k / experts)
    every = flags.text("--moe-layer-freq", note="which blocks have experts") or "1"
    blocks = block_pattern(every, layers)
    if blocks is None:
        flags.notes.problems.append(
            f"--moe-layer-freq: is {every[:60]!a}; legal: a number, or a pattern for {layers} blocks, as ([0]*1+[1]*9)."
        )
        return None, ()
    if top_k > experts:
        flags.notes.problems.append(f"--moe-router-topk: is {top_k}; legal: at most the {experts} experts.")
        return None, ()
    shared = flags.optional("--moe-shared-expert-intermediate-size", note="all shared experts together", least=0)
    routed = RoutedMlp(
        experts=experts,
        top_k=top_k,
        ffn=inner,
        shared_ffn=shared or 0,
        activation=activation,
        shared_gate=flags.has("--moe-shared-expert-gate", "--moe-use-shared-expert-gate"),
        expert_biases=biased,
        correction_bias=flags.has("--moe-router-enable-expert-bias"),
        capacity_rows=rows,
    )
    return routed, blocks


def _windows(flags: Flags, layers: int) -> tuple[int, ...]:
    text = flags.text("--window-size", note="keys to either side")
    every = flags.text("--window-attn-skip-freq", note="which blocks see all keys")
    if not text:
        return ()
    sides = text.strip("()").split(",")
    if not sides[0].strip().isascii() or not sides[0].strip().isdigit() or len(sides[0]) > 9:
        flags.notes.problems.append(f"--window-size: is {text[:60]!a}; legal: as in 4095,0.")
        return ()
    keys = int(sides[0]) + 1
    if not every:
        return (keys,) * layers
    # A number N leaves every N-th block without a window; a pattern says 1 for a window.
    if every.isdigit() and len(every) < 9 and int(every):
        return tuple(0 if (index + 1) % int(every) == 0 else keys for index in range(layers))
    pattern = block_pattern(every, layers)
    if pattern is None:
        flags.notes.problems.append(
            f"--window-attn-skip-freq: is {every[:60]!a}; legal: a number or a pattern of {layers}."
        )
        return ()
    return tuple(keys if windowed else 0 for windowed in pattern)


def _vocabulary(flags: Flags, tp: int) -> int:
    """Rows of the table: the tokenizer's words, padded to a multiple that tensor-parallel ranks divide."""
    multiple = flags.count("--make-vocab-size-divisible-by", default=128) * tp
    padded = flags.optional("--padded-vocab-size")
    if padded is not None:
        return padded
    kind, model = flags.text("--tokenizer-type"), flags.text("--tokenizer-model") if _says(flags) else ""
    words = flags.optional("--vocab-size")
    if kind == "NullTokenizer" and words is not None:
        words += 1  # and an end of the document
    if words is None:
        words = _VOCABULARIES.get(kind, 0) or _of_catalogue(model)
        whose = kind if kind in _VOCABULARIES else model
        note = f"words of {whose}" if words else "GPT-2's: the tokenizer's own file is not read; --vocab-size says it"
        words = words or _USUAL_VOCABULARY
        flags.notes.note("assumed", "--vocab-size", words, note)
    rows = -(-words // multiple) * multiple
    if rows != words:
        flags.notes.note(
            "assumed", "padded vocabulary", rows, f"{words} padded to a multiple of {multiple}, as Megatron-LM"
        )
    return rows


def _says(flags: Flags) -> bool:
    """Whether the tokenizer's name is a word, not a variable that the text leaves open."""
    flag = flags.given.get("--tokenizer-model")
    known = flag is not None and bool(flag.values) and "$" not in flag.values[0] and "`" not in flag.values[0]
    if flag is not None and not known:
        flags.read.add("--tokenizer-model")
        flags.notes.note("ignored", "--tokenizer-model", flag.text, "its file is not read")
    return known


def _of_catalogue(model: str) -> int:
    """Words of the catalogue's model that a tokenizer is named after; 0 where there is none."""
    tail = model.rsplit("/", 1)[-1]
    plain = re.sub(r"^Meta-|(-Instruct|-hf|-chat|-Base)$", "", tail, flags=re.IGNORECASE)
    for spelling in (model, tail, plain):
        name = catalog.resolve_model(spelling) if 0 < len(spelling) < 200 else ""
        if name:
            return int(catalog.model(name).hyper.get("vocab", 0))
    return 0
