"""Keys of Hugging Face configurations that change neither parameters nor the work of training."""

from __future__ import annotations

from typing import Final

HARMLESS: Final = frozenset(
    (
        "architectures", "attn_implementation", "auto_map", "bad_words_ids", "begin_suppress_tokens",
        "bos_token_id", "cache_implementation", "chunk_size_feed_forward", "classifier_dropout", "cls_token_id",
        "cross_attention_hidden_size", "decoder_start_token_id", "diversity_penalty", "do_sample", "dtype",
        "early_stopping", "encoder_no_repeat_ngram_size", "eos_token_id", "exponential_decay_length_penalty",
        "finetuning_task", "forced_bos_token_id", "forced_eos_token_id", "gradient_checkpointing", "id2label",
        "initializer_factor", "initializer_range", "is_decoder", "is_encoder_decoder",
        "keys_to_ignore_at_inference", "label2id", "layer_norm_eps", "layer_norm_epsilon", "length_penalty",
        "mask_token_id", "max_length", "max_position_embeddings", "min_length", "model_type",
        "no_repeat_ngram_size", "num_beam_groups", "num_beams", "num_labels", "num_return_sequences",
        "output_attentions", "output_hidden_states", "output_scores", "pad_token_id", "partial_rotary_factor",
        "prefix", "pretraining_tp", "problem_type", "pruned_heads", "quantization_config", "remove_invalid_values",
        "repetition_penalty", "return_dict", "return_dict_in_generate", "rms_norm_eps", "rope_local_base_freq",
        "rope_parameters", "rope_scaling", "rope_theta", "sep_token_id", "suppress_tokens", "task_specific_params",
        "temperature", "tf_legacy_loss", "tie_encoder_decoder", "tokenizer_class", "top_k", "top_p", "torch_dtype",
        "torchscript", "transformers_version", "typical_p", "unk_token_id", "unsloth_fixed", "unsloth_version",
        "use_bfloat16", "use_cache", "use_flash_attn",
    )
)  # fmt: skip
