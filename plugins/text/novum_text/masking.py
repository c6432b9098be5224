"""Which tokens of a text are hidden: drawn anew in training, fixed by the text itself in scoring.

After BERT (Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers", section 3.1 and appendix A.1):
a share of the tokens of each text is to be named; in training 80 % of them are replaced by a mask, 10 % by a random
token, and 10 % stay.

Shapes: B texts of a batch, L tokens of its longest text, K places that are to be named in the text with the most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

HIDDEN, REPLACED = 0.8, 0.1
"""Shares of the chosen tokens that training hides, and that it replaces by random ones."""
WEYL, FIRST, SECOND = -7046029254386353131, -4658895280553007687, -7723592293110705685
"""Constants of SplitMix64 as signed numbers."""


@dataclass(frozen=True)
class Masking:
    """What one vocabulary hides tokens with.

    mask: the id that hides a token. special: ids that are never hidden. size: tokens in the vocabulary. share: of a
    text's tokens that are to be named, above 0; rounded, and at least one of a text that has any.
    """

    mask: int
    special: tuple[int, ...]
    size: int
    share: float

    def drawn(self, ids: torch.Tensor, attention: torch.Tensor) -> Masked:
        """Hide tokens of `ids` (B, L) at random, from the installed generator."""
        import torch

        masked = self._masked(ids, attention, torch.rand(ids.shape, device=ids.device))
        dice = torch.rand(masked.places.shape, device=ids.device)
        others = torch.randint(self.size, masked.places.shape, device=ids.device)
        shown = torch.where(dice < HIDDEN, self.mask, masked.targets)
        shown = torch.where((dice >= HIDDEN) & (dice < HIDDEN + REPLACED), others, shown)
        return masked.showing(ids, shown)

    def fixed(self, ids: torch.Tensor, attention: torch.Tensor) -> Masked:
        """Hide tokens of `ids` (B, L) as each text's own tokens say: the same ones whenever, with whichever other
        texts and by whichever network a text is scored. All of them are hidden.
        """
        import torch

        masked = self._masked(ids, attention, noise(ids, attention))
        return masked.showing(ids, torch.full_like(masked.targets, self.mask))

    def _masked(self, ids: torch.Tensor, attention: torch.Tensor, scores: torch.Tensor) -> Masked:
        """The places with the highest scores (0 to 1), as many as the share says."""
        import torch

        free = (attention > 0) & ~torch.isin(ids, torch.tensor(self.special, device=ids.device))
        tokens = free.sum(1)
        counts = (self.share * tokens).round().long().clamp(min=1).minimum(tokens)
        most = max(1, round(self.share * ids.shape[1]))  # at least the largest count, without waiting for the device
        order = torch.where(free, scores, -1.0).argsort(dim=1, descending=True, stable=True)
        places = order[:, :most]
        named = torch.arange(most, device=ids.device) < counts[:, None]
        return Masked(ids, places, ids.gather(1, places), named)


@dataclass(frozen=True)
class Masked:
    """ids: int64 (B, L), as the network sees them. places: int64 (B, K), positions in a text, distinct in a row.
    targets: int64 (B, K), the tokens that stood there. named: bool (B, K), False where a text has fewer places.
    """

    ids: torch.Tensor
    places: torch.Tensor
    targets: torch.Tensor
    named: torch.Tensor

    def showing(self, ids: torch.Tensor, shown: torch.Tensor) -> Masked:
        """The same with `shown` (B, K) in the places that are to be named."""
        import torch

        replaced = torch.where(self.named, shown, self.targets)
        return Masked(ids.scatter(1, self.places, replaced), self.places, self.targets, self.named)

    def weights(self) -> torch.Tensor:
        """float32 (B, K): the mean over texts of a text's weighted sum is the mean over all named tokens, so that a
        batch may be cut into pieces of texts.
        """
        return self.named * (len(self.named) / self.named.sum().clamp(min=1))


def noise(ids: torch.Tensor, attention: torch.Tensor) -> torch.Tensor:
    """A number from 0 to 1 for every token, float64 (B, L), as random as a hash: it follows from the text's tokens and
    the position alone, whatever the padding, the batch and the device.
    """
    import torch

    places = torch.arange(1, ids.shape[1] + 1, device=ids.device)
    text = (_mixed(ids * WEYL + places) * (attention > 0)).sum(1, keepdim=True)  # integers: no order of adding matters
    return (_mixed(text + places * WEYL) & ((1 << 53) - 1)).double() / (1 << 53)


def _mixed(value: torch.Tensor) -> torch.Tensor:
    """The finaliser of SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators")."""
    value = (value ^ _shifted(value, 30)) * FIRST
    value = (value ^ _shifted(value, 27)) * SECOND
    return value ^ _shifted(value, 31)


def _shifted(value: torch.Tensor, bits: int) -> torch.Tensor:
    """To the right, with zeros: torch's own shift of a negative number brings ones."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)
