"""MobileFaceNet: inverted bottlenecks and, at their end, one kernel as large as the map (Chen et al., 2018)."""

from __future__ import annotations

from torch import Tensor, nn

STAGES = ((64, 5, 2, 2), (128, 1, 4, 2), (128, 6, 2, 1), (128, 1, 4, 2), (128, 2, 2, 1))
"""Channels, blocks, by how much a block widens them, and the first block's stride."""
STEM, LAST = 64, 512


class MobileFace(nn.Module):
    """About a million weights for aligned faces of 112 px; what a place of the last map says is weighed by the place.

    The mean over places, which most nets end with, would not know the eyes from the chin.
    """

    def __init__(self, channels: int, width: int, size_hw: tuple[int, int]) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv(channels, STEM, 3, stride=2), _conv(STEM, STEM, 3, groups=STEM)]
        inside = STEM
        for outside, count, wider, stride in STAGES:
            layers += [
                _Bottleneck(inside if not block else outside, outside, wider, stride if not block else 1)
                for block in range(count)
            ]
            inside = outside
        self.blocks = nn.Sequential(*layers, _conv(inside, LAST, 1))
        for _ in range(1 + sum(stride == 2 for *_, stride in STAGES)):
            size_hw = (-(-size_hw[0] // 2), -(-size_hw[1] // 2))
        self.places = nn.Conv2d(LAST, LAST, size_hw, groups=LAST, bias=False)
        self.norm = nn.BatchNorm2d(LAST)
        self.head = nn.Linear(LAST, width)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(B, C, H, W) → numbers (B, width)."""
        return {"logits": self.head(self.norm(self.places(self.blocks(x))).flatten(1))}


def _conv(inside: int, outside: int, kernel: int, *, stride: int = 1, groups: int = 1, bends: bool = True) -> nn.Module:
    conv = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outside), nn.PReLU(outside) if bends else nn.Identity())


class _Bottleneck(nn.Module):
    """Widened, seen channel by channel, narrowed; beside the identity where the shape stays."""

    def __init__(self, inside: int, outside: int, wider: int, stride: int) -> None:
        super().__init__()
        wide = wider * inside
        self.layers = nn.Sequential(
            _conv(inside, wide, 1),
            _conv(wide, wide, 3, stride=stride, groups=wide),
            _conv(wide, outside, 1, bends=False),
        )
        self.stays = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.layers(x)
        return x + made if self.stays else made
