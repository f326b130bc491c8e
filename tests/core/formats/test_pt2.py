"""torch.export archives against the module they were made from."""

from __future__ import annotations

import io

import pytest
import torch
from torch import nn

from gpuworker.core.formats import pt2
from gpuworker.core.program.execute import run_batched
from tests.core.formats.build import pt2_bytes


class Sequence(nn.Module):
    """embedding > body > head. The body sees (N, T, 16)."""

    def __init__(self, body: nn.Module, width: int) -> None:
        super().__init__()
        self.embedding, self.body, self.head = nn.Embedding(50, 16), body, nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.body(self.embedding(x))
        return self.head((found[0] if isinstance(found, tuple) else found).mean(1))


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(50, 16), nn.Linear(16, 3)
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, norm_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pad = x == 0
        h = self.encoder(self.embedding(x), src_key_padding_mask=pad)
        real = (~pad).unsqueeze(-1).float()
        return self.head((h * real).sum(1) / real.sum(1).clamp(min=1))


class Bag(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bag, self.head = nn.EmbeddingBag(50, 16, mode="mean"), nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.bag(x))


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.act(self.norm(self.conv(x))).flatten(1) + 0
        y += 1
        return torch.cat([y.chunk(2, 1)[0], torch.stack([y[:, 0], y[:, 1]], 1)], 1).log_softmax(-1)


def cnn() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding="same"), nn.BatchNorm2d(16), nn.SiLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, 2, 1, groups=2)),
        *(nn.GELU(), nn.Dropout(), nn.GroupNorm(4, 32), nn.Upsample(scale_factor=2, mode="bilinear"), nn.AvgPool2d(2, padding=1)),
        *(nn.ConvTranspose2d(32, 8, 3, 2, 1, 1), nn.Hardswish(), nn.AdaptiveAvgPool2d((2, 2)), nn.Flatten(), nn.LayerNorm(32)),
        *(nn.Linear(32, 16), nn.LeakyReLU(), nn.Linear(16, 10), nn.Softmax(-1)),
    )


def encoder() -> nn.Module:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2)


IMAGES, TOKENS = torch.randn(4, 3, 16, 16), torch.randint(0, 50, (4, 7))
CASES = {
    "cnn": (cnn, IMAGES, "CNN"),
    "in_place": (InPlace, IMAGES, "CNN"),
    "mlp": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(768, 8), nn.ELU(), nn.Linear(8, 2), nn.Sigmoid()), IMAGES, "MLP"),
    "encoder": (lambda: Sequence(encoder(), 16), TOKENS, "Transformer"),
    "masked": (Masked, TOKENS, "Transformer"),
    "lstm": (lambda: Sequence(nn.LSTM(16, 12, 2, batch_first=True, bidirectional=True), 24), TOKENS, "RNN"),
    "gru": (lambda: Sequence(nn.GRU(16, 12, batch_first=True), 12), TOKENS, "RNN"),
    "rnn": (lambda: Sequence(nn.RNN(16, 12, batch_first=True, nonlinearity="relu"), 12), TOKENS, "RNN"),
    "bag": (Bag, TOKENS, "Embedding bag"),
}


@pytest.mark.parametrize("dynamic", [True, False], ids=["open", "frozen"])
@pytest.mark.parametrize("name", CASES)
def test_archive_agrees_with_its_module(name: str, dynamic: bool) -> None:
    torch.manual_seed(3)
    make, example, family = CASES[name]
    module = make().eval()
    model = pt2.read({"m.pt2": io.BytesIO(pt2_bytes(module, example, dynamic))})
    samples = torch.cat([example, example.flip(0), example[:1]])
    port = model.program.inputs[0].name
    found = run_batched(model.program, model.tensors, {port: samples}, 64)["output_0"]
    with torch.no_grad():
        assert torch.allclose(found, module(samples), rtol=1e-5, atol=1e-5)
    assert model.facts.family == family
    assert model.facts.producer.startswith("torch ")
    if dynamic:
        assert model.program.fixed_batch is None


def test_nothing_of_the_author_stays() -> None:
    text = str(pt2.read({"m.pt2": io.BytesIO(pt2_bytes(Bag(), TOKENS))}).program.to_json())
    assert "stack_trace" not in text and ".py" not in text and "bag" not in text.replace("embedding_bag", "")
