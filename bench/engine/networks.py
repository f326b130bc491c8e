"""Networks of the bench, twice each: as a torch module for the peers, and as a program over the same tensors for the engine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from gpuworker.core.formats.architectures import Config, Net, resnet_cifar
from gpuworker.core.program.build import Builder
from gpuworker.core.program.model import Input, Program
from gpuworker.core.program.values import Value

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class Network:
    """One model. tensors: by content key."""

    module: nn.Module
    program: Program
    tensors: Mapping[str, Tensor]


class Block(nn.Module):
    """Pre-norm transformer block: (N, T, D) to the same."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.n1, self.n2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.o = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.a, self.b = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        n, t, d = x.shape
        q, k, v = self.qkv(self.n1(x)).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        y = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, d)
        x = x + self.o(y)
        result: Tensor = x + self.b(nn.functional.gelu(self.a(self.n2(x))))
        return result


class Transformer(nn.Module):
    """(N, T, 64) float to (N, 10)."""

    def __init__(self, width: int = 128, heads: int = 4, layers: int = 4, steps: int = 32) -> None:
        super().__init__()
        self.e, self.pos = nn.Linear(64, width), nn.Parameter(torch.randn(1, steps, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.n, self.fc = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.e(x) + self.pos
        for block in self.blocks:
            x = block(x)
        result: Tensor = self.fc(self.n(x).mean(1))
        return result


class Basic(nn.Module):
    """Two 3x3 convolutions with batch normalisation and a shortcut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after)
        self.conv2, self.bn2 = nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)
        other = stride != 1 or before != after
        self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)) if other else nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + self.shortcut(x))


class ResNet(nn.Module):
    """(N, 3, S, S) to (N, 10); 6 blocks + 2 layers deep."""

    def __init__(self, blocks: int = 3, width: int = 16) -> None:
        super().__init__()
        self.blocks, self.width = blocks, width
        self.conv1, self.bn1 = nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        before = width
        for stage in range(3):
            after = width << stage
            layers = [Basic(before if block == 0 else after, after, 2 if stage and block == 0 else 1) for block in range(blocks)]
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
            before = after
        self.linear = nn.Linear(before, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        for stage in range(3):
            x = getattr(self, f"layer{stage + 1}")(x)
        result: Tensor = self.linear(x.mean((2, 3)))
        return result


class Perceptron(nn.Module):
    """(N, 64) to (N, 10)."""

    def __init__(self, width: int = 256, layers: int = 3) -> None:
        super().__init__()
        sizes = [64, *[width] * (layers - 1), 10]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True))

    def forward(self, x: Tensor) -> Tensor:
        for place, layer in enumerate(self.layers):
            x = layer(x) if place == 0 else layer(torch.relu(x))
        return x


class Recurrent(nn.Module):
    """(N, T, 64) to (N, 10): one LSTM and a mean over time."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.lstm, self.fc = nn.LSTM(64, width, batch_first=True), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.fc(self.lstm(x)[0].mean(1))
        return result


Emit = Callable[[Builder, Value, Callable[[str], Value], nn.Module], Value]


def _linear(b: Builder, x: Value, w: Callable[[str], Value], name: str) -> Value:
    return b.emit("linear", [x, w(f"{name}.weight"), w(f"{name}.bias")])


def _norm(b: Builder, x: Value, w: Callable[[str], Value], name: str) -> Value:
    return b.emit("layer_norm", [x, w(f"{name}.weight"), w(f"{name}.bias")])


def _transformer(b: Builder, x: Value, w: Callable[[str], Value], module: nn.Module) -> Value:
    assert isinstance(module, Transformer)
    steps, width = module.pos.shape[1:]
    x = b.emit("add", [_linear(b, x, w, "e"), w("pos")])
    for place, block in enumerate(module.blocks):
        assert isinstance(block, Block)
        name = f"blocks.{place}"
        both = b.reshape(_linear(b, _norm(b, x, w, f"{name}.n1"), w, f"{name}.qkv"), [0, steps, 3, block.heads, width // block.heads])
        both = b.permute(both, [2, 0, 3, 1, 4])
        y = b.emit("attention", [b.emit("select", [both], {"dim": 0, "index": part}) for part in range(3)])
        y = b.reshape(b.permute(y, [0, 2, 1, 3]), [0, steps, width])
        x = b.emit("add", [x, _linear(b, y, w, f"{name}.o")])
        y = b.emit("gelu", [_linear(b, _norm(b, x, w, f"{name}.n2"), w, f"{name}.a")])
        x = b.emit("add", [x, _linear(b, y, w, f"{name}.b")])
    return _linear(b, b.emit("mean", [_norm(b, x, w, "n")], {"dims": [1]}), w, "fc")


def _perceptron(b: Builder, x: Value, w: Callable[[str], Value], module: nn.Module) -> Value:
    assert isinstance(module, Perceptron)
    for place in range(len(module.layers)):
        x = _linear(b, x if place == 0 else b.emit("relu", [x]), w, f"layers.{place}")
    return x


def _recurrent(b: Builder, x: Value, w: Callable[[str], Value], module: nn.Module) -> Value:
    weights = [w(f"lstm.{name}_l0") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    y = b.emit_many("lstm", [x, None, None, *weights], {"batch_first": True}, 1)[0]
    return _linear(b, b.emit("mean", [y], {"dims": [1]}), w, "fc")


def _resnet(b: Builder, x: Value, w: Callable[[str], Value], module: nn.Module) -> Value:
    assert isinstance(module, ResNet)
    config = Config({"architecture": "resnet_cifar", "blocks": module.blocks, "channels": [module.width << k for k in range(3)],
                     "in_channels": 3, "classes": 10})  # fmt: skip
    return resnet_cifar(Net(b, module.state_dict(), {}), config, x)


EMITTERS: Mapping[type[nn.Module], Emit] = {
    Transformer: _transformer,
    Perceptron: _perceptron,
    Recurrent: _recurrent,
    ResNet: _resnet,
}


def network(module: nn.Module, shape: Sequence[int]) -> Network:
    """The program of a module. shape: of one sample."""
    builder = Builder((Input("x", "float32", (None, *shape)),))
    state = module.state_dict()
    output = EMITTERS[type(module)](builder, builder.inputs[0], lambda name: builder.weight(state[name]), module)
    program, tensors = builder.finish([("y", output)])
    return Network(module, program, tensors)


def family(make: Callable[[], nn.Module], shape: Sequence[int], own: Sequence[Collection[str]], seed: int = 0) -> list[Network]:
    """Fine-tunes of one base. own: per model the prefixes of the parameters it has changed; "" for all."""
    torch.manual_seed(seed)
    base = _settled(make()).state_dict()
    found = []
    for prefixes in own:
        module = _settled(make())
        mixed = {name: value if name.startswith(tuple(prefixes)) else base[name] for name, value in module.state_dict().items()}
        module.load_state_dict(mixed)
        found.append(network(module, shape))
    return found


def _settled(module: nn.Module) -> nn.Module:
    """In evaluation mode, with normalisation statistics that are not those of a fresh layer."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None and part.running_var is not None
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, 0, 0.1)
    return module.eval().requires_grad_(False)
