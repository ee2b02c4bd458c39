"""Small models for `doctor`, whose results the golden model computes. Each case uses more of the accelerator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hw.contract.config import AccelConfig
from sim.random_checkpoint import write_random_checkpoint
from sw.requests import Job

__all__ = ["CASES", "Case"]

PROMPT = (3, 17, 29, 5, 30)
NEW_TOKENS = 4


@dataclass(frozen=True)
class Case:
    """A model in which only some projections have weights; the others are zero and add nothing to the residual.

    Attributes:
        name: of the check.
        suspect: units that may be faulty if this case fails and all earlier cases passed.
        projections: those with weights; None for all.
        layers: of the model.
        prompt: token ids. At one position attention returns its only value, whatever the scores are.
        new_tokens: tokens to generate.
    """

    name: str
    suspect: str
    projections: tuple[str, ...] | None
    layers: int = 1
    prompt: tuple[int, ...] = PROMPT[:1]
    new_tokens: int = 0

    def write_checkpoint(self, folder: Path) -> None:
        """As small as a model can be that every configuration holds."""
        write_random_checkpoint(
            folder, hidden=64, intermediate=96, layers=self.layers, heads=2, kv_heads=1, vocab=33, positions=32, seed=1,
            projections=self.projections,
        )

    def job(self, config: AccelConfig) -> Job:
        """What is run."""
        return Job(prompt=self.prompt, max_new_tokens=self.new_tokens, chunk=config.columns, all_logits=True)


CASES = (
    Case("embedding and head", "the embedding, the norm, the scratchpad or the LM head", ()),
    Case("bitlinear", "the packet stream, the ternary array, its rescaling or the KV memory", ("v_proj", "o_proj")),
    Case("token", "attention, RoPE, the KV memory or the FFN", None, layers=2, prompt=PROMPT, new_tokens=NEW_TOKENS),
)
"""The cases in order. Each relies on units that earlier cases tested."""
