"""Megatron-LM's words that change nothing here, and those that change the time and cannot be followed, with reasons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: Words that change neither the time of a step nor its memory, by the reason; a final * stands for any ending.
_WITHOUT_EFFECT: Final[Mapping[str, str]] = {
    "how well it learns, not how long": (
        "--lr --lr-* --min-lr --override-opt-param-scheduler --override-opt_param-scheduler --use-checkpoint-opt* "
        "--weight-decay* --start-weight-decay --end-weight-decay --adam-beta1 --adam-beta2 --adam-eps --decoupled-* "
        "--init-method-* --embedding-init-* --seed --clip-grad --warmup --norm-epsilon --layernorm-epsilon "
        "--rotary-base --rotary-percent --rotary-interleaved --rotary-scaling-factor "
        "--rotary-seq-len-interpolation-factor --use-rope-scaling --rope-scaling-factor --rope-type --mscale* "
        "--apply-layernorm-1p --loss-scale* --initial-loss-scale --min-loss-scale --hysteresis --moe-aux-loss-coeff "
        "--moe-z-loss-coeff --moe-router-score-function --moe-router-topk-scaling-factor "
        "--moe-router-bias-update-rate --moe-router-load-balancing-type --moe-router-pre-softmax "
        "--mtp-loss-scaling-factor --no-rope-freq --muon-* --calculate-per-token-loss --beta1 --beta2 --sgd-momentum "
        "--moe-input-jitter-eps --apply-query-key-layer-scaling --sample-rate --eod-mask-loss"
    ),
    "logging and measuring": (
        "--log-* --tensorboard-* --wandb-* --timing-log-* --no-barrier-with-level-1-timing --profile* "
        "--use-pytorch-profiler --one-logger-* --no-one-logger --app-tag-* --record-memory-history "
        "--memory-snapshot-path --logging-level --straggler-* --disable-straggler-* --config-logger-dir "
        "--moe-per-layer-logging --run-workload-inspector-server --no-log-* --check-for-spiky-loss "
        "--result-rejected-* --error-injection-* --rerun-mode --enable-one-logger"
    ),
    "checkpoints: a plan of a step has none": (
        "--save* --load* --no-save-* --no-load-* --ckpt-* --use-dist-ckpt --dist-ckpt-* --auto-detect-ckpt-format "
        "--async-save --finetune --pretrained-checkpoint --exit-* --non-persistent-* --replication* "
        "--use-checkpoint-args --no-ckpt-* --use-mp-args-from-checkpoint-args "
        "--use-tokenizer-model-from-checkpoint-args --distrib-optim-* --enable-ft-package --calc-ft-timeouts "
        "--inprocess-* --adlr-* --moe-use-upcycling --moe-upcycling-granularity"
    ),
    "data: input is taken as ready in time": (
        "--data-path --data-* --train-data-path --valid-data-path --test-data-path --per-split-data-* --split "
        "--mock-data --vocab-file --merge-file --tokenizer-* --tiktoken-* --num-workers --no-mmap-bin-files "
        "--dataloader-type --reset-position-ids --no-create-attention-mask-in-dataloader "
        "--num-dataset-builder-threads --trust-remote-code --legacy-tokenizer --object-storage-* "
        "--mid-level-dataset-surplus --dataset --iterations-to-skip --s3-*"
    ),
    "evaluation: a plan of a step has none": (
        "--eval-* --skip-train --full-validation --multiple-validation-sets --test-mode"
    ),
    "start-up, not a step": (
        "--use-cpu-initialization --distributed-backend --distributed-timeout-* --local-rank --lazy-mpu-init "
        "--init-model-with-meta-device --no-initialization --disable-gloo-process-groups --tp-comm-bootstrap-backend "
        "--enable-msc --disable-msc --enable-experimental --nccl-communicator-config-path --use-mcore-models "
        "--high-priority-stream-groups --no-async-tensor-model-parallel-allreduce --max-tokens-to-oom --inference-*"
    ),
    "how the library computes the same; the stack says": (
        "--transformer-impl --no-masked-softmax-fusion --no-bias-gelu-fusion --no-bias-swiglu-fusion "
        "--no-bias-dropout-fusion --no-rope-fusion --no-persist-layer-norm --no-gradient-accumulation-fusion "
        "--attention-softmax-in-fp32 --cross-entropy-loss-fusion --cross-entropy-fusion-impl --moe-grouped-gemm "
        "--moe-use-legacy-grouped-gemm --moe-permute-fusion --moe-router-fusion --moe-router-dtype --fp8-margin "
        "--fp8-interval --fp8-amax-* --te-rng-tracker --manual-gc --manual-gc-* --no-check-for-nan-in-loss-and-grad "
        "--ddp-pad-buckets-for-high-nccl-busbw --num-experts-per-* --ddp-average-in-collective --no-align-* "
        "--moe-router-padding-for-fp8 --gradient-reduce-div-fusion --no-clone-* "
        "--disable-bf16-reduced-precision-matmul --use-torch-optimizer-for-cpu-offload --bias-* "
        "--moe-router-num-groups --moe-router-group-topk --moe-router-force-load-balancing --moe-token-drop-policy "
        "--use-fused-* --spec --tp-comm-overlap-* --disable-tp-comm-* --empty-unused-memory-level --moe-extended-tp "
        "--moe-deepep-num-sms"
    ),
}  # fmt: skip

#: Words that change the time or the memory and that a plan cannot follow, with what is taken instead.
_NOT_HONOURED: Final[Mapping[str, str]] = {
    "--rampup-batch-size": "every step is planned at the full batch",
    "--decoder-first-pipeline-num-layers": "stages are cut evenly",
    "--decoder-last-pipeline-num-layers": "stages are cut evenly",
    "--pipeline-model-parallel-layout": "stages are cut evenly",
    "--account-for-embedding-in-pipeline-split": "stages are cut by the planner's own rule",
    "--account-for-loss-in-pipeline-split": "stages are cut by the planner's own rule",
    "--standalone-embedding-stage": "the embedding stands with the first blocks",
    "--microbatch-group-size-per-virtual-pipeline-stage": "groups are as deep as the pipeline",
    "--distribute-saved-activations": "saved inputs are whole on every tensor-parallel rank",
    "--recompute-modules": "what is recomputed is attention's core ('selective') or all ('full')",
    "--moe-layer-recompute": "what is recomputed is attention's core ('selective') or all ('full')",
    "--cpu-offloading-num-layers": "activations stay on the chip",
    "--optimizer-offload-fraction": "all of the optimizer's state or none",
    "--use-precision-aware-optimizer": "the optimizer's state is fp32",
    "--main-params-dtype": "the optimizer's state is fp32",
    "--main-grads-dtype": "gradients are as the stack has them",
    "--exp-avg-dtype": "the optimizer's state is fp32",
    "--exp-avg-sq-dtype": "the optimizer's state is fp32",
    "--fp8-param-gather": "parameters are gathered in 16 bits",
    "--fp8-param": "parameters are gathered in 16 bits",
    "--reuse-grad-buf-for-mxfp8-param-ag": "parameters are gathered in 16 bits",
    "--no-fp8-wgrad": "gradients of parameters are multiplied in fp8 too",
    "--first-last-layers-bf16": "all blocks multiply alike",
    "--num-layers-at-start-in-bf16": "all blocks multiply alike",
    "--num-layers-at-end-in-bf16": "all blocks multiply alike",
    "--fp32-residual-connection": "residuals are 16 bits wide",
    "--overlap-moe-expert-parallel-comm": "exchanges of experts are not hidden",
    "--moe-shared-expert-overlap": "exchanges of experts are not hidden",
    "--delay-wgrad-compute": "gradients of parameters are not put off",
    "--defer-embedding-wgrad-compute": "gradients of parameters are not put off",
    "--wgrad-deferral-limit": "gradients of parameters are not put off",
    "--moe-enable-deepep": "exchanges of experts are all-to-alls",
    "--moe-expert-capacity-factor": "no token is dropped",
    "--use-tp-pp-dp-mapping": "ranks are placed tensor, context, data, pipeline",
    "--hierarchical-context-parallel-sizes": "one kind of exchange for all",
    "--use-nccl-ub": "a collective takes its usual share of the chip",
    "--use-sharp": "the library chooses; in-network reduction is not forced",
    "--ddp-reduce-scatter-with-fp32-accumulation": "gradients are exchanged as the stack has it",
    "--ddp-bucket-size": "the stack says how gradients are bucketed",
    "--ddp-num-buckets": "the stack says how gradients are bucketed",
    "--num-distributed-optimizer-instances": "the state is sharded over all replicas",
    "--enable-full-sharding-in-hsdp": "the state is sharded over all replicas",
    "--fsdp-double-buffer": "the stack says what is buffered",
    "--suggested-communication-unit-size": "the stack says what is buffered",
    "--enable-cuda-graph": "the stack says whether graphs are captured",
    "--external-cuda-graph": "the stack says whether graphs are captured",
    "--cuda-graph-impl": "the stack says whether graphs are captured",
    "--cuda-graph-scope": "the stack says whether graphs are captured",
    "--deterministic-mode": "the fastest kernels are taken",
    "--sft": "documents are as long as the sequence; --mean-length says otherwise",
    "--reset-attention-mask": "attention sees the whole sequence; --mean-length says otherwise",
    "--variable-seq-lengths": "documents are as long as the sequence; --mean-length says otherwise",
    "--rl-*": "the update alone is planned, without generation",
    "--grpo-*": "the update alone is planned, without generation",
    "--perform-rl-step": "the update alone is planned, without generation",
    "--train-sync-interval": "the host never waits for the chip",
    "--decrease-batch-size-if-needed": "the batch must divide",
    "--no-scatter-gather-tensors-in-pipeline": "sends are cut among tensor-parallel ranks",
    "--use-ring-exchange-p2p": "sends are the library's",
    "--overlap-param-gather-with-optimizer-step": "gathers follow the update",
    "--overlap-p2p-communication-warmup-flush": "sends overlap as the stack has them",
    "--overlap-cpu-optimizer-d2h-h2d": "transfers to the host are as the planner has them",
    "--keep-fp8-transpose-cache": "memory of transposed copies is the recipe's",
    "--use-legacy-models": "the stack says how blocks are computed",
    "--moe-apply-probs-on-input": "weights of experts multiply their activation",
    "--deepspeed": "--stack deepspeed-2025 or megatron-deepspeed has its ways; --zero-stage is followed",
    "--deepspeed-config": "its file is not read; --zero-stage, batch and number format stand on the command line",
    "--no-pipeline-parallel": "pipeline stages are as --pipeline-model-parallel-size says",
    "--no-overlap-p2p-communication": "sends overlap as the stack has them",
}  # fmt: skip

#: Words that make another network than a decoder: not followed, the command is refused.
REFUSED: Final[Mapping[str, str]] = {
    "--decoder-num-layers": "an encoder and a decoder",
    "--heterogeneous-layers-config-path": "blocks of different shapes",
    "--heterogeneous-layers-config-encoded-json": "blocks of different shapes",
    "--hybrid-attention-ratio": "a mixture of attention and state space",
    "--hybrid-override-pattern": "a mixture of attention and state space",
    "--is-hybrid-model": "a mixture of attention and state space",
    "--retro-add-retriever": "a network with retrieval",
    "--vision-pretraining": "a vision network",
    "--yaml-cfg": "arguments in another file",
    "--relative-attention-num-buckets": "relative position biases",
}


def _looked_up(table: Mapping[str, str], name: str) -> str:
    exact = table.get(name)
    if exact is not None:
        return exact
    return next((why for word, why in table.items() if word.endswith("*") and name.startswith(word[:-1])), "")


_IGNORED: Final = {word: why for why, words in _WITHOUT_EFFECT.items() for word in words.split()}


def why_ignored(name: str) -> str:
    """Why a word changes nothing here; "" for one that may."""
    return _looked_up(_IGNORED, name)


def why_not_honoured(name: str) -> str:
    """What is taken instead of what a word asks for; "" for a word that is followed or not known."""
    return _looked_up(_NOT_HONOURED, name)


#: All words that are known beside those that are read; for saying what was meant.
KNOWN: Final = tuple(word for word in (*_IGNORED, *_NOT_HONOURED, *REFUSED) if not word.endswith("*"))
