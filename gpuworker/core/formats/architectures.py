"""The architectures a bare weights file may have, each built straight into a Program from its config.json.

Tensor names are those of the torch modules that the comments give, so that `save_file(model.state_dict(), ...)` fits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gpuworker.core.errors import UnreadableModel
from gpuworker.core.program.build import Builder
from gpuworker.core.program.model import Input
from gpuworker.core.program.values import Value

MAX_SIZE = 1 << 20
MAX_LAYERS = 200
ACTIVATIONS = ("relu", "gelu", "silu", "tanh")
_FIX = "Correct config.json, or export the model as ONNX or .pt2."


class Config:
    """Typed access to config.json; remembers which keys were read, so that an unknown one is an error."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._read = {"architecture"}

    def _get(self, name: str, default: Any) -> Any:
        self._read.add(name)
        value = self._document.get(name, default)
        if value is None:
            raise self._bad(name, "a value", "nothing")
        return value

    @staticmethod
    def _bad(name: str, expected: str, found: object) -> UnreadableModel:
        return UnreadableModel(
            "config.json does not fit its architecture.", detail=f"{name}: expected {expected}, found {str(found)[:60]}.", fix=_FIX
        )

    def size(self, name: str, default: int | None = None) -> int:
        value = self._get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= MAX_SIZE:
            raise self._bad(name, f"an integer from 1 to {MAX_SIZE}", value)
        return value

    def sizes(self, name: str, default: Sequence[int] | None = None) -> list[int]:
        value = self._get(name, default)
        fits = isinstance(value, (list, tuple)) and len(value) <= MAX_LAYERS
        if not fits or any(not isinstance(item, int) or isinstance(item, bool) or not 0 < item <= MAX_SIZE for item in value):
            raise self._bad(name, f"a list of up to {MAX_LAYERS} integers", value)
        return list(value)

    def choice(self, name: str, choices: Sequence[str]) -> str:
        value = self._get(name, choices[0])
        if value not in choices:
            raise self._bad(name, f"one of {list(choices)}", value)
        return str(value)

    def flag(self, name: str, default: bool) -> bool:
        value = self._get(name, default)
        if not isinstance(value, bool):
            raise self._bad(name, "true or false", value)
        return value

    def check_all_read(self) -> None:
        unknown = sorted(set(self._document) - self._read)
        if unknown:
            raise UnreadableModel(
                "config.json has keys its architecture does not know.", detail=", ".join(map(str, unknown))[:200], fix=_FIX
            )


@dataclass(slots=True)
class Net:
    """A network under construction. `expect` notes every tensor it wants; without tensors it only collects that list."""

    builder: Builder
    tensors: Mapping[str, torch.Tensor]
    wanted: dict[str, tuple[int, ...]]

    def expect(self, name: str, *shape: int) -> Value:
        self.wanted[name] = shape
        found = self.tensors.get(name)
        return self.builder.weight(found if found is not None and tuple(found.shape) == shape else torch.empty(shape, device="meta"))

    def linear(self, x: Value, name: str, inputs: int, outputs: int) -> Value:
        return self.builder.emit("linear", [x, self.expect(f"{name}.weight", outputs, inputs), self.expect(f"{name}.bias", outputs)])

    def conv(
        self, x: Value, name: str, inputs: int, outputs: int, kernel: Sequence[int], stride: int = 1, pad: int = 0, bias: bool = True
    ) -> Value:
        rank = len(kernel)
        attributes = {"stride": [stride] * rank if stride > 1 else [], "pads": [pad] * (2 * rank) if pad else []}
        weights = [self.expect(f"{name}.weight", outputs, inputs, *kernel), self.expect(f"{name}.bias", outputs) if bias else None]
        return self.builder.emit("conv", [x, *weights], attributes)

    def batch_norm(self, x: Value, name: str, channels: int) -> Value:
        parts = [self.expect(f"{name}.{part}", channels) for part in ("weight", "bias", "running_mean", "running_var")]
        return self.builder.emit("batch_norm", [x, *parts])

    def layer_norm(self, x: Value, name: str, size: int) -> Value:
        return self.builder.emit("layer_norm", [x, self.expect(f"{name}.weight", size), self.expect(f"{name}.bias", size)])

    def pool(self, x: Value, size: int, rank: int) -> Value:
        return self.builder.emit("max_pool", [x], {"kernel": [size] * rank, "stride": [size] * rank})

    def flat(self, x: Value) -> tuple[Value, int]:
        """(N, everything else) and how much that is."""
        x = self.builder.reshape(x, [0, -1])
        width = x.shape[1] if x.shape is not None and len(x.shape) == 2 else None
        if width is None:
            raise UnreadableModel("config.json does not fit its architecture.", detail="The sizes leave nothing after pooling.", fix=_FIX)
        return x, width


def mlp(net: Net, config: Config, x: Value) -> Value:
    """layers.<i>: Linear, activation between. Input (N, inputs)."""
    sizes = [config.size("inputs"), *config.sizes("hidden", []), config.size("classes")]
    activation = config.choice("activation", ACTIVATIONS)
    for place, (before, after) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        x = net.linear(x, f"layers.{place}", before, after)
        if place < len(sizes) - 2:
            x = net.builder.emit(activation, [x])
    return x


def lenet(net: Net, config: Config, x: Value) -> Value:
    """conv1, conv2 (5x5, activation, 2x2 max-pool), fc1, fc2, fc3. Input (N, in_channels, height, width)."""
    channels, sizes = config.sizes("channels", [6, 16]), config.sizes("hidden", [120, 84])
    activation, pad = config.choice("activation", ACTIVATIONS), 2 if config.flag("pad_first", False) else 0
    before = config.size("in_channels")
    for place, after in enumerate(channels):
        x = net.conv(x, f"conv{place + 1}", before, after, [5, 5], pad=pad if place == 0 else 0)
        x, before = net.pool(net.builder.emit(activation, [x]), 2, 2), after
    x, width = net.flat(x)
    for place, after in enumerate([*sizes, config.size("classes")]):
        x, width = net.linear(x, f"fc{place + 1}", width, after), after
        if place < len(sizes):
            x = net.builder.emit(activation, [x])
    return x


def cnn(net: Net, config: Config, x: Value, rank: int = 2) -> Value:
    """convs.<i> (kernel k, same padding), norms.<i> if norm, activation, max-pool of 2; mean over space; head."""
    kernel, activation = config.size("kernel", 3), config.choice("activation", ACTIVATIONS)
    norm, before = config.flag("norm", True), config.size("in_channels")
    if kernel % 2 == 0:
        raise UnreadableModel(
            "config.json does not fit its architecture.", detail=f"kernel: expected an odd number, found {kernel}.", fix=_FIX
        )
    channels = config.sizes("channels")
    for place, after in enumerate(channels):
        x = net.conv(x, f"convs.{place}", before, after, [kernel] * rank, pad=kernel // 2)
        x = net.batch_norm(x, f"norms.{place}", after) if norm else x
        x, before = net.pool(net.builder.emit(activation, [x]), 2, rank), after
    x = net.builder.emit("mean", [x], {"dims": list(range(2, 2 + rank))})
    return net.linear(x, "head", before, config.size("classes"))


def resnet_cifar(net: Net, config: Config, x: Value) -> Value:
    """conv1/bn1, layer1..3 of basic blocks (conv1, bn1, conv2, bn2, shortcut.0/.1), mean, linear. Depth = 6 blocks + 2."""
    blocks, widths = config.size("blocks", 3), config.sizes("channels", [16, 32, 64])
    x = net.batch_norm(net.conv(x, "conv1", config.size("in_channels"), widths[0], [3, 3], pad=1, bias=False), "bn1", widths[0])
    x, before = net.builder.emit("relu", [x]), widths[0]
    for stage, after in enumerate(widths):
        for block in range(min(blocks, MAX_LAYERS)):
            stride = 2 if stage > 0 and block == 0 else 1
            x, before = _basic_block(net, x, f"layer{stage + 1}.{block}", before, after, stride), after
    x = net.builder.emit("mean", [x], {"dims": [2, 3]})
    return net.linear(x, "linear", before, config.size("classes"))


def _basic_block(net: Net, x: Value, name: str, before: int, after: int, stride: int) -> Value:
    y = net.batch_norm(net.conv(x, f"{name}.conv1", before, after, [3, 3], stride, 1, bias=False), f"{name}.bn1", after)
    y = net.conv(net.builder.emit("relu", [y]), f"{name}.conv2", after, after, [3, 3], 1, 1, bias=False)
    y = net.batch_norm(y, f"{name}.bn2", after)
    if stride != 1 or before != after:
        x = net.batch_norm(net.conv(x, f"{name}.shortcut.0", before, after, [1, 1], stride, bias=False), f"{name}.shortcut.1", after)
    return net.builder.emit("relu", [net.builder.emit("add", [y, x])])


def text_mean(net: Net, config: Config, x: Value) -> Value:
    """embedding, mean over tokens that are not padding, layers.<i> as in mlp. Input (N, tokens) int64."""
    width, pad = config.size("embedding_size"), config.flag("ignore_padding", True)
    vectors = net.builder.emit("embedding", [net.expect("embedding.weight", config.size("vocabulary"), width), x])
    if not pad:
        pooled = net.builder.emit("mean", [vectors], {"dims": [1]})
    else:
        pooled = _masked_mean(net, vectors, net.builder.emit("ne", [x, net.builder.scalar(0)]))
    sizes, activation = [width, *config.sizes("hidden", []), config.size("classes")], config.choice("activation", ACTIVATIONS)
    for place, (before, after) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        pooled = net.linear(pooled, f"layers.{place}", before, after)
        pooled = net.builder.emit(activation, [pooled]) if place < len(sizes) - 2 else pooled
    return pooled


def _masked_mean(net: Net, vectors: Value, mask: Value) -> Value:
    real = net.builder.emit("cast", [net.builder.emit("unsqueeze", [mask], {"dims": [-1]})], {"dtype": "float32"})
    total = net.builder.emit("sum", [net.builder.emit("mul", [vectors, real])], {"dims": [1]})
    count = net.builder.emit("clamp", [net.builder.emit("sum", [real], {"dims": [1]})], {"low": 1.0, "high": None})
    return net.builder.emit("div", [total, count])


def transformer(net: Net, config: Config, x: Value) -> Value:
    """embedding + position, encoder.layers.<i> of nn.TransformerEncoderLayer (norm last), masked mean, head. Token 0 is padding."""
    width, heads = config.size("width"), config.size("heads")
    length, layers, feed = config.size("max_length"), config.size("layers"), config.size("feed_forward")
    if width % heads or layers > MAX_LAYERS:
        raise UnreadableModel("config.json does not fit its architecture.", detail=f"heads: {heads} do not divide width {width}.", fix=_FIX)
    activation = config.choice("activation", ("relu", "gelu"))
    h = net.builder.emit("embedding", [net.expect("embedding.weight", config.size("vocabulary"), width), x])
    position = net.builder.emit("slice", [net.expect("position", length, width)], {"dim": 0, "start": 0, "end": net.builder.size(x, 1)})
    h = net.builder.emit("add", [h, position])
    mask = net.builder.emit("ne", [x, net.builder.scalar(0)])
    looks = net.builder.emit("unsqueeze", [mask], {"dims": [1, 2]})
    for place in range(layers):
        h = _encoder_layer(net, h, looks, f"encoder.layers.{place}", width, heads, feed, activation)
    return net.linear(_masked_mean(net, h, mask), "head", width, config.size("classes"))


def _encoder_layer(net: Net, h: Value, looks: Value, name: str, width: int, heads: int, feed: int, activation: str) -> Value:
    weight, bias = net.expect(f"{name}.self_attn.in_proj_weight", 3 * width, width), net.expect(f"{name}.self_attn.in_proj_bias", 3 * width)
    both = net.builder.emit("linear", [h, weight, bias])
    steps = net.builder.size(h, 1)
    parts = []
    for place in range(3):
        part = net.builder.emit("slice", [both], {"dim": 2, "start": place * width, "end": (place + 1) * width})
        part = net.builder.reshape(part, [net.builder.size(h, 0), steps, heads, width // heads])
        parts.append(net.builder.permute(part, [0, 2, 1, 3]))
    found = net.builder.permute(net.builder.emit("attention", [*parts, looks]), [0, 2, 1, 3])
    found = net.builder.reshape(found, [net.builder.size(h, 0), steps, width])
    found = net.linear(found, f"{name}.self_attn.out_proj", width, width)
    h = net.layer_norm(net.builder.emit("add", [h, found]), f"{name}.norm1", width)
    inner = net.builder.emit(activation, [net.linear(h, f"{name}.linear1", width, feed)])
    return net.layer_norm(net.builder.emit("add", [h, net.linear(inner, f"{name}.linear2", feed, width)]), f"{name}.norm2", width)


@dataclass(frozen=True, slots=True)
class Architecture:
    """build: (net, config, input) -> logits. port: the declared input, from the config."""

    build: Callable[[Net, Config, Value], Value]
    port: Callable[[Config], Input]


def _image(config: Config) -> Input:
    return Input("input", "float32", (None, config.size("in_channels"), config.size("height"), config.size("width")))


def _tokens(config: Config) -> Input:
    return Input("input", "int64", (None, None))


ARCHITECTURES: dict[str, Architecture] = {
    "mlp": Architecture(mlp, lambda config: Input("input", "float32", (None, config.size("inputs")))),
    "lenet": Architecture(lenet, _image),
    "cnn": Architecture(cnn, _image),
    "cnn1d": Architecture(
        lambda net, config, x: cnn(net, config, x, 1),
        lambda config: Input("input", "float32", (None, config.size("in_channels"), config.size("window"))),
    ),
    "resnet_cifar": Architecture(resnet_cifar, _image),
    "text_mean": Architecture(text_mean, _tokens),
    "transformer": Architecture(transformer, _tokens),
}
