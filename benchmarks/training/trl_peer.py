"""The peer's side of ``trl_parity.py``: runs with the Python of its own environment (``benchmarks/peers/trl.txt``).

``trl_peer.py FOLDER``: reads a model and a batch, computes TRL's losses and gradients, writes ``theirs.safetensors``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer

TOKENS = {f"t{n}": n for n in range(60)}
GRPO = {
    "grpo_token": {},
    "grpo_token_corrected": {"use_bias_correction_kl": True},
    "grpo_sequence": {"importance_sampling_level": "sequence"},
    "grpo_sequence_corrected": {"importance_sampling_level": "sequence", "use_bias_correction_kl": True},
    "grpo_high": {"epsilon_high": 0.4},
    "bnpo": {"loss_type": "bnpo"},
    "dr_grpo": {"loss_type": "dr_grpo", "max_completion_length": 9},
}


def tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(models.WordLevel(TOKENS, unk_token="t2"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="t1", pad_token="t0")


def gradients(name: str, loss: torch.Tensor, model: torch.nn.Module, out: dict[str, torch.Tensor]) -> None:
    model.zero_grad()
    loss.backward()
    out[f"{name}/loss"] = loss.detach().clone()
    out |= {f"{name}/{n}": p.grad.detach().clone() for n, p in model.named_parameters() if p.grad is not None}


def grpo(
    folder: Path, batch: dict[str, torch.Tensor], name: str, how: dict[str, object], out: dict[str, torch.Tensor]
) -> None:
    model = Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.float32)
    args = GRPOConfig(
        output_dir=str(folder / "out"), beta=0.02, report_to=[], use_cpu=True, per_device_train_batch_size=4, num_generations=4,
        bf16=False, disable_dropout=True, gradient_checkpointing=False,
        **{"loss_type": "grpo", "use_bias_correction_kl": False, **how},
    )  # fmt: skip
    data = Dataset.from_dict({"prompt": ["t3 t4", "t5 t6"]})
    trainer = GRPOTrainer(
        model, lambda completions, **_: [0.0] * len(completions), args, data, processing_class=tokenizer()
    )
    rewards = batch["rewards"]
    spread = rewards.std(1, keepdim=True)
    advantages = ((rewards - rewards.mean(1, keepdim=True)) / (spread + 1e-4)).reshape(-1)
    out["advantages"] = advantages
    trainer.model.eval()
    trainer.current_gradient_accumulation_steps = 1
    loss = trainer._compute_loss(
        trainer.model,
        {
            **{k: batch[k] for k in ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")},
            "advantages": advantages,
            "old_per_token_logps": batch["old"],
            "ref_per_token_logps": batch["ref"],
            "num_items_in_batch": batch["completion_mask"].sum(),
        },
    )
    gradients(name, loss, trainer.model, out)


def dpo(folder: Path, batch: dict[str, torch.Tensor], out: dict[str, torch.Tensor]) -> None:
    model = Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.float32)
    reference = Qwen3ForCausalLM.from_pretrained(folder / "reference", dtype=torch.float32)
    args = DPOConfig(
        output_dir=str(folder / "out"), beta=0.1, report_to=[], use_cpu=True, bf16=False, disable_dropout=True,
        per_device_train_batch_size=2, gradient_checkpointing=False,
    )  # fmt: skip
    data = Dataset.from_dict({"prompt": ["t3 t4"] * 2, "chosen": ["t5"] * 2, "rejected": ["t6"] * 2})
    trainer = DPOTrainer(model, reference, args, train_dataset=data, processing_class=tokenizer())
    trainer.model.eval()
    inputs = {k: batch[f"pair_{k}"] for k in ("input_ids", "attention_mask", "completion_mask")}
    loss = trainer._compute_loss(trainer.model, inputs, return_outputs=False)
    gradients("dpo", loss, trainer.model, out)


def sft(folder: Path, batch: dict[str, torch.Tensor], out: dict[str, torch.Tensor]) -> None:
    """The library's own loss on the answer's tokens, which SFTTrainer hands on."""
    model = Qwen3ForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    loss = model(
        input_ids=batch["sft_input_ids"], attention_mask=batch["sft_attention_mask"], labels=batch["sft_labels"]
    ).loss
    gradients("sft", loss, model, out)


def main(folder: Path) -> None:
    torch.manual_seed(0)
    batch, out = load_file(folder / "batch.safetensors"), {}
    for name, how in GRPO.items():
        grpo(folder, batch, name, how, out)
    dpo(folder, batch, out)
    sft(folder, batch, out)
    save_file({name: tensor.contiguous() for name, tensor in out.items()}, folder / "theirs.safetensors")
    import trl

    print(json.dumps({"trl": trl.__version__}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
