"""ONNX-ML operators of classical pipelines: trees, linear models, scaling. Class names leave the graph as facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from gpuworker.core.formats.onnx_node import Node, Result, is_integer
from gpuworker.core.formats.onnx_shape import cast_to
from gpuworker.core.program.ops.trees import MAX_DEPTH, MODES
from gpuworker.core.program.values import Value

_POST = {"NONE": None, "SOFTMAX": "softmax", "LOGISTIC": "sigmoid"}


def tree_classifier(n: Node) -> Result:
    scores = _trees(n, "class")
    labels, count = _labels(n)
    ids, weights = n.int_list("class_ids"), n.number_list("class_weights")
    if count == 2 and set(ids) == {0}:
        return _binary(n, scores, labels, min(weights) >= 0)
    if count == 2 and set(ids) == {1}:
        # The first class keeps score 0, yet the label goes by the second score alone, as onnxruntime has it.
        second = n.builder.emit("slice", [scores], {"dim": 1, "start": 1})
        best = n.builder.emit("gt", [second, n.builder.scalar(0.5 if min(weights) >= 0 else 0.0, torch.float32)])
        return [_name_classes(n, n.builder.reshape(cast_to(n, best, "int64"), [-1]), labels), _post(n, scores)]
    return _classes(n, scores, labels)


def tree_regressor(n: Node) -> Result:
    if n.text("aggregate_function", "SUM") != "SUM":
        raise n.refuse("an aggregate function other than SUM")
    return _post(n, _trees(n, "target"))


def _trees(n: Node, kind: str) -> Value:
    """The sum of leaves per row, base values added."""
    features, trees, nodes = (n.int_list(f"nodes_{name}") for name in ("featureids", "treeids", "nodeids"))
    true_nodes, false_nodes = n.int_list("nodes_truenodeids"), n.int_list("nodes_falsenodeids")
    thresholds, names, count = n.number_list("nodes_values"), n.text_list("nodes_modes"), len(nodes)
    sizes = {len(features), len(trees), len(true_nodes), len(false_nodes), len(thresholds), len(names), count}
    if len(sizes) > 1 or not count or len(set(zip(trees, nodes, strict=True))) != count:
        raise n.broken("the lists of nodes differ in length, are empty or repeat a node")
    places = {key: place for place, key in enumerate(zip(trees, nodes, strict=True))}
    modes = [_mode(n, mode) for mode in names]
    try:
        yes = [place if modes[place] == 0 else places[trees[place], true_nodes[place]] for place in range(count)]
        no = [place if modes[place] == 0 else places[trees[place], false_nodes[place]] for place in range(count)]
        leaves = _leaves(n, kind, places)
    except (KeyError, IndexError) as error:
        raise n.broken(f"it points at a node or a class that does not exist: {error}") from error
    roots, depth = _roots(n, yes, no, modes, trees)
    width = n.shape(n.tensor())[-1]
    if min(features) < 0 or (width is not None and max(features) >= width):
        raise n.broken(f"it reads feature {max(features)} of {width}")
    missing = n.int_list("nodes_missing_value_tracks_true", []) or [0] * count
    int64, weight = torch.int64, n.builder.weight
    parts = [
        weight(torch.tensor(features, dtype=int64)),
        weight(torch.tensor(thresholds, dtype=torch.float32)),
        weight(torch.tensor(yes, dtype=int64)),
        weight(torch.tensor(no, dtype=int64)),
        weight(torch.tensor(modes, dtype=torch.int8)),
        weight(torch.tensor([bool(flag) for flag in missing])),
        weight(torch.tensor(roots, dtype=int64)),
        weight(leaves),
    ]
    scores = n.builder.emit("tree_ensemble", [n.tensor(), *parts], {"depth": depth})
    base = n.number_list("base_values")
    return n.builder.emit("add", [scores, weight(torch.tensor(base, dtype=torch.float32))]) if base else scores


def _mode(n: Node, mode: str) -> int:
    if mode not in MODES:
        raise n.refuse(f"node mode {mode}")
    return MODES.index(mode)


def _leaves(n: Node, kind: str, places: Mapping[tuple[int, int], int]) -> torch.Tensor:
    """(nodes, classes) float32; a leaf may add to several classes."""
    ids, weights = n.int_list(f"{kind}_ids"), n.number_list(f"{kind}_weights")
    width = n.integer("n_targets", 1) if kind == "target" else _labels(n)[1]
    if kind == "class" and width == 2 and set(ids) == {0}:
        width = 1
    owners = zip(n.int_list(f"{kind}_treeids"), n.int_list(f"{kind}_nodeids"), strict=True)
    rows = torch.tensor([places[owner] for owner in owners], dtype=torch.int64)
    if len(places) * width > 1 << 26:
        raise n.refuse(f"{len(places)} nodes times {width} classes is too large")
    if ids and not 0 <= min(ids) <= max(ids) < width:
        raise IndexError(f"class {max(ids)} of {width}")
    leaves = torch.zeros(len(places), width, dtype=torch.float32)
    return leaves.index_put_((rows, torch.tensor(ids, dtype=torch.int64)), torch.tensor(weights, dtype=torch.float32), accumulate=True)


def _roots(n: Node, yes: list[int], no: list[int], modes: list[int], trees: list[int]) -> tuple[list[int], int]:
    """The node of each tree that nobody points at, and the steps to the deepest leaf. A loop is an error."""
    pointed = {child for place in range(len(yes)) if modes[place] for child in (yes[place], no[place])}
    roots = [place for place in range(len(yes)) if place not in pointed]
    if len(roots) != len(set(trees)):
        raise n.broken("a tree has no root, or several")
    level, depth, seen = roots, 0, len(roots)
    while True:
        level = [child for place in level if modes[place] for child in {yes[place], no[place]}]
        if not level:
            return roots, depth
        depth, seen = depth + 1, seen + len(level)
        if depth > MAX_DEPTH or seen > len(yes):
            raise n.broken("its nodes form a loop, or are too deep")


def _labels(n: Node) -> tuple[list[str], int]:
    """Class names as text (empty when they are just 0, 1, 2 ...), and how many there are."""
    texts = n.text_list("classlabels_strings")
    numbers = n.int_list("classlabels_int64s", n.attributes.get("classlabels_ints", []))
    return [*texts, *(str(number) for number in numbers)], max(len(texts), len(numbers))


def _post(n: Node, scores: Value) -> Value:
    post = n.text("post_transform", "NONE")
    if post not in _POST:
        raise n.refuse(f"post_transform {post}")
    name = _POST[post]
    return scores if name is None else n.builder.emit(name, [scores], {"dim": -1} if name == "softmax" else {})


def _classes(n: Node, scores: Value, labels: list[str]) -> Result:
    best = n.builder.emit("argmax", [scores], {"dim": -1})
    return [_name_classes(n, best, labels), _post(n, scores)]


def _binary(n: Node, score: Value, labels: list[str], positive: bool) -> Result:
    """One score for two classes. It is a probability when no weight is negative, and a margin otherwise."""
    post = n.text("post_transform", "NONE")
    limit = n.builder.scalar(0.5 if positive and post == "NONE" else 0.0, torch.float32)
    best = n.builder.reshape(cast_to(n, n.builder.emit("gt", [score, limit]), "int64"), [-1])
    if post == "LOGISTIC":
        one = n.builder.emit("sigmoid", [score])
        other = n.builder.emit("sigmoid", [n.builder.emit("neg", [score])])
    elif post == "NONE":
        one, other = score, n.builder.emit("neg", [score])
        if positive:
            other = n.builder.emit("sub", [n.builder.scalar(1.0, torch.float32), score])
    else:
        raise n.refuse(f"post_transform {post} of two classes with one score")
    return [_name_classes(n, best, labels), n.builder.emit("concat", [other, one], {"dim": 1})]


def _name_classes(n: Node, best: Value, labels: list[str]) -> Value:
    """Places of classes as the file's own numbers; text labels stay places, their names are facts."""
    n.labels.extend(labels)
    if n.text_list("classlabels_strings"):
        return best
    numbers = [int(label) for label in labels]
    if numbers == list(range(len(numbers))):
        return best
    return n.builder.emit("take", [n.builder.weight(torch.tensor(numbers, dtype=torch.int64)), best])


def linear_classifier(n: Node) -> Result:
    labels, count = _labels(n)
    scores = _linear(n)
    coefficients, offsets = n.number_list("coefficients"), n.number_list("intercepts")
    rows = len(offsets) or count
    if count == 2 and rows == 1:
        return _binary(n, scores, labels, min(coefficients) >= 0 and not offsets)
    return _classes(n, scores, labels)


def linear_regressor(n: Node) -> Result:
    return _post(n, _linear(n))


def _linear(n: Node) -> Value:
    coefficients, offsets = n.number_list("coefficients"), n.number_list("intercepts")
    rows = len(offsets) or n.integer("targets", 0) or _labels(n)[1] or 1
    if not coefficients or len(coefficients) % rows:
        raise n.broken(f"{len(coefficients)} coefficients for {rows} rows")
    weight = n.builder.weight(torch.tensor(coefficients, dtype=torch.float32).reshape(rows, -1))
    bias = n.builder.weight(torch.tensor(offsets, dtype=torch.float32)) if offsets else None
    return n.builder.emit("linear", [_real(n), weight, bias])


def _real(n: Node, place: int = 0) -> Value:
    value = n.tensor(place)
    return cast_to(n, value, "float32") if is_integer(value) or value.dtype == torch.float64 else value


def normalizer(n: Node) -> Result:
    order = {"MAX": 0, "L1": 1, "L2": 2}.get(n.text("norm", "MAX"))
    if order is None:
        raise n.refuse(f"norm {n.text('norm')}")
    return n.builder.emit("lp_normalize", [_real(n)], {"dim": -1, "order": order})


def scaler(n: Node) -> Result:
    value = _real(n)
    offset, scale = (torch.tensor(n.number_list(name), dtype=torch.float32) for name in ("offset", "scale"))
    if offset.any():
        value = n.builder.emit("sub", [value, n.builder.weight(offset)])
    return n.builder.emit("mul", [value, n.builder.weight(scale)]) if scale.numel() and bool((scale != 1).any()) else value


def imputer(n: Node) -> Result:
    value = _real(n)
    fillers = torch.tensor(n.number_list("imputed_value_floats") or n.int_list("imputed_value_int64s"), dtype=torch.float32)
    target = n.real("replaced_value_float", float("nan"))
    missing = n.builder.emit("isnan", [value]) if target != target else n.builder.emit("eq", [value, n.builder.scalar(target)])
    return n.builder.emit("where", [missing, n.builder.weight(fillers), value])


def binarizer(n: Node) -> Result:
    return cast_to(n, n.builder.emit("gt", [_real(n), n.builder.scalar(n.real("threshold", 0.0))]), "float32")


def extractor(n: Node) -> Result:
    value = n.tensor(0)
    indices = n.builder.reshape(n.tensor(1), [-1])
    return n.builder.emit("take", [value, indices], {"dim": n.rank(value) - 1})


def vectorizer(n: Node) -> Result:
    values = [_real(n, place) for place in range(len(n.inputs))]
    return values[0] if len(values) == 1 else n.builder.emit("concat", values, {"dim": 1})


def one_hot(n: Node) -> Result:
    categories = n.int_list("cats_int64s", [])
    if not categories:
        raise n.refuse("categories of text")
    value = n.tensor()
    rank = n.rank(value)
    column = n.builder.reshape(value, [*(n.builder.size(value, place) for place in range(rank)), 1])
    return cast_to(n, n.builder.emit("eq", [column, n.builder.weight(torch.tensor(categories))]), "float32")


HANDLERS: Mapping[str, Callable[[Node], Result]] = {
    "TreeEnsembleClassifier": tree_classifier,
    "TreeEnsembleRegressor": tree_regressor,
    "LinearClassifier": linear_classifier,
    "LinearRegressor": linear_regressor,
    "Normalizer": normalizer,
    "Scaler": scaler,
    "Imputer": imputer,
    "Binarizer": binarizer,
    "ArrayFeatureExtractor": extractor,
    "FeatureVectorizer": vectorizer,
    "OneHotEncoder": one_hot,
    "ZipMap": lambda n: n.item(0),
}
