"""Our SFT, DPO and GRPO losses and their gradients beside TRL's, on one fixed batch and one small Qwen3.

TRL lives in its own environment (``benchmarks/peers/trl.txt``), whose Python ``AISLE_PEER_TRL`` names.
Prints the largest relative difference of each, as ``difference:<loss>``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Qwen3Config, Qwen3ForCausalLM

from aisle.nn.backbones.hf import Hf, HfShape
from aisle.training import preference, supervised
from aisle.training.advantages import group_advantage
from aisle.training.policy import GroupLoss
from aisle.training.rollouts import TextRollout

V, END = 60, 1
PEER = "AISLE_PEER_TRL"
HERE = Path(__file__).parent
BUDGET = 9
GRPO = {
    "grpo_token": {},
    "grpo_token_corrected": {"corrected": True},
    "grpo_sequence": {"by": "sequence"},
    "grpo_sequence_corrected": {"by": "sequence", "corrected": True},
    "grpo_high": {"high": 0.4},
    "bnpo": {"per": "token"},
    "dr_grpo": {"per": "budget", "budget": BUDGET},
}
"""Whose ratio is clipped and where, whether KL is weighted by it, and how the mean is taken."""


def small_qwen(seed: int) -> Qwen3ForCausalLM:
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=V, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, tie_word_embeddings=True, eos_token_id=END, pad_token_id=0,
    )  # fmt: skip
    model = Qwen3ForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(6)
    return model.eval()


def padded(rows: list[np.ndarray], front: bool = False) -> tuple[Tensor, Tensor]:
    """Tokens and mask, int64[B, T] each, filled up in front or behind."""
    width = max(map(len, rows))
    token, mask = np.zeros((len(rows), width), np.int64), np.zeros((len(rows), width), np.int64)
    for i, row in enumerate(rows):
        part = slice(width - len(row), None) if front else slice(0, len(row))
        token[i, part], mask[i, part] = row, 1
    return torch.from_numpy(token), torch.from_numpy(mask)


def main() -> None:
    python = os.environ[PEER]
    random = np.random.default_rng(5)
    prompts = [random.integers(3, V, n) for n in (5, 8)]
    answers = [[random.integers(3, V, n) for n in (4, 2, 6, 3)], [random.integers(3, V, n) for n in (1, 5, 5, 2)]]
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.3, 0.9, 0.1, 0.2]])
    flat = [a for of in answers for a in of]
    qwen, other = small_qwen(1), small_qwen(2)
    ours = Hf(HfShape(name="here", dtype="float32"), qwen, END)
    reference = Hf(HfShape(name="there", dtype="float32"), other, END)

    rollout = TextRollout(np.arange(2), prompts, answers, torch.zeros(8, 6))
    packed = rollout.packed()
    with torch.no_grad():
        # An older policy near the present one, so that some ratios are clipped and others are not.
        noise = torch.randn(8, 6, generator=torch.Generator().manual_seed(3))
        old, ref = (ours.logp(packed) + 0.3 * noise) * packed.is_token, reference.logp(packed)
    rollout = TextRollout(np.arange(2), prompts, answers, old)
    found: dict[str, Tensor] = {}
    advantage = group_advantage(rewards)
    for name, how in GRPO.items():
        losses, _ = GroupLoss(kl=0.02, reference=reference, **how)(ours, rollout, advantage)
        keep(name, sum(losses.values()), qwen, found)
    pairs = preference.Preferences(prompts, [[answers[0][0]], [answers[1][1]]], [[answers[0][2]], [answers[1][3]]])
    losses, _ = preference.PreferenceLoss(beta=0.1)(ours, preference.batch_of(pairs, reference))
    keep("dpo", sum(losses.values()), qwen, found)
    examples = supervised.Examples(prompts, [answers[0][2], answers[1][1]])
    keep("sft", supervised.supervised_loss(ours, supervised.batch_of(examples, 64))["supervised"], qwen, found)

    with TemporaryDirectory() as work:
        folder = Path(work)
        qwen.save_pretrained(folder)
        other.save_pretrained(folder / "reference")
        save_file(
            batch_for_trl(prompts, answers, flat, rewards, old, ref, pairs, examples), folder / "batch.safetensors"
        )
        subprocess.run([python, HERE / "trl_peer.py", folder], check=True, stdout=subprocess.DEVNULL)
        theirs = load_file(folder / "theirs.safetensors")
    rows = [
        {"metric": "difference:advantage", "value": float((advantage.reshape(-1) - theirs["advantages"]).abs().max())}
    ]
    for name in ("sft", "dpo", *GRPO):
        rows += [{"metric": f"difference:{name}", "value": difference(found, theirs, name)}]
    json.dump(rows, sys.stdout, indent=1)


def keep(name: str, loss: Tensor, model: torch.nn.Module, found: dict[str, Tensor]) -> None:
    model.zero_grad()
    loss.backward()
    found[f"{name}/loss"] = loss.detach().clone()
    found.update({f"{name}/{n}": p.grad.detach().clone() for n, p in model.named_parameters() if p.grad is not None})


def difference(ours: dict[str, Tensor], theirs: dict[str, Tensor], name: str) -> float:
    """The largest distance of loss and of any parameter's gradient, as a share of its size."""
    names = [n for n in ours if n.startswith(f"{name}/")]
    assert set(names) == {n for n in theirs if n.startswith(f"{name}/")}, "the two sides trained other parameters"
    return max(float((ours[n] - theirs[n]).norm() / theirs[n].norm().clamp(min=1e-12)) for n in names)


def batch_for_trl(prompts, answers, flat, rewards, old, ref, pairs, examples) -> dict[str, Tensor]:
    repeated = [p for p, of in zip(prompts, answers, strict=True) for _ in of]
    out = dict(zip(("prompt_ids", "prompt_mask"), padded(repeated, front=True), strict=True))
    out |= dict(zip(("completion_ids", "completion_mask"), padded(flat), strict=True))
    out |= {"rewards": rewards, "old": old.contiguous(), "ref": ref.contiguous()}
    chosen, rejected = [c[0] for c in pairs.chosen], [r[0] for r in pairs.rejected]
    whole = [np.concatenate([p, a]) for p, a in zip([*prompts, *prompts], [*chosen, *rejected], strict=True)]
    ids, mask = padded(whole)
    begins = torch.tensor([len(p) for p in prompts] * 2)[:, None]
    out |= {"pair_input_ids": ids, "pair_attention_mask": mask}
    out["pair_completion_mask"] = mask * (torch.arange(ids.shape[1]) >= begins)
    ids, mask = padded([np.concatenate([p, a]) for p, a in zip(prompts, examples.answers, strict=True)])
    answer = (torch.arange(ids.shape[1]) >= torch.tensor([len(p) for p in prompts])[:, None]) & (mask == 1)
    out |= {"sft_input_ids": ids, "sft_attention_mask": mask, "sft_labels": torch.where(answer, ids, -100)}
    return out


if __name__ == "__main__":
    main()
