"""Model file formats, accepted and refused."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FormatSpec:
    """A model file format. A refused one carries why and how to export instead."""

    key: str
    label: str
    extensions: tuple[str, ...]
    accepted: bool
    why: str = ""
    instead: str = ""


_EXPORT = "Export it with torch.onnx.export(...) or torch.export.save(torch.export.export(model, args), 'model.pt2')."
FORMATS: dict[str, FormatSpec] = {
    spec.key: spec
    for spec in (
        FormatSpec("onnx", "ONNX", (".onnx",), True),
        FormatSpec("pt2", "torch.export archive", (".pt2",), True),
        FormatSpec("safetensors", "safetensors with config.json", (".safetensors", ".zip"), True),
        FormatSpec(
            "pickle", "Python pickle", (".pkl", ".pickle"), False, "Opening a pickle runs whatever code its author put in.", _EXPORT
        ),
        FormatSpec(
            "torch_save",
            "torch.save file",
            (".pt", ".pth", ".bin", ".ckpt"),
            False,
            "A torch.save file is a pickle: opening it can run code.",
            _EXPORT,
        ),
        FormatSpec(
            "torchscript", "TorchScript", (".ts", ".ptl"), False, "A TorchScript archive carries code that runs when it is loaded.", _EXPORT
        ),
        FormatSpec(
            "joblib",
            "joblib",
            (".joblib",),
            False,
            "A joblib file is a pickle: opening it can run code.",
            "Convert the pipeline with skl2onnx.to_onnx(...).",
        ),
        FormatSpec(
            "keras",
            "Keras",
            (".keras", ".h5", ".hdf5"),
            False,
            "Keras files can hold lambda layers, which are code.",
            "Convert it with tf2onnx to .onnx.",
        ),
        FormatSpec(
            "tflite",
            "TensorFlow Lite",
            (".tflite",),
            False,
            "There is no reader for TensorFlow Lite.",
            "Convert it with tf2onnx --tflite to .onnx.",
        ),
    )
}
