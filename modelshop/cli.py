"""The `modelshop` command. Exit codes: 0 done, 2 usage, 3 not allowed, 4 refused or rejected, 5 server not reached."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from modelshop.client import Client, Publication
from modelshop.errors import BadUsage, ClientError

COMMANDS = "modelshop.commands"  # entry points that add commands
DEFAULT_URL = "http://127.0.0.1:8000"
_NAME = re.compile(r"[-\w]+/[-\w]+", re.ASCII)


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        # Commands of other packages, with arguments of their own; loaded only when they are called.
        for command in entry_points(group=COMMANDS, name=given[0]) if given else ():
            return int(command.load()(given[1:]))
        options = _parser().parse_args(given)
        return int(options.run(options))
    except ClientError as error:
        _tell(error)
        return error.exit_code
    except KeyboardInterrupt:
        print("\nStopped. Run the same command again to go on where it stopped.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    others = ", ".join(sorted(entry_points(group=COMMANDS).names))
    note = f"Further commands here: {others}; each explains itself with --help." if others else ""
    parser = argparse.ArgumentParser(prog="modelshop", description="Publish models to a Modelshop server.", epilog=note)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    publish = commands.add_parser(
        "publish",
        help="upload a model and have it checked",
        description="Upload a model file, its input spec and a reference sample; wait for the checks.",
    )
    publish.add_argument("files", nargs="+", type=Path, metavar="FILE", help="model file(s): .onnx, .pt2, or .safetensors with config.json")
    publish.add_argument(
        "--spec", type=Path, required=True, metavar="JSON", help="input spec and labels; the schema is at /api/spec-schema/"
    )
    publish.add_argument("--reference", type=Path, nargs="+", default=[], metavar="DATA", help="held-out samples, best with labels")
    publish.add_argument("--reference-options", default="{}", metavar="JSON", help='how to read them, for example {"label_column": "y"}')
    publish.add_argument("--name", default="", metavar="TEAM/NAME", help="default: your own team and the file's name")
    publish.add_argument("--title", default="", help="of a new model")
    publish.add_argument("--task", default="", help="of a new model: what it decides")
    publish.add_argument("--licence", default="", help="of a new model, for example apache-2.0")
    publish.add_argument(
        "--probes", action="store_true", help="keep a capped labelled slice of the reference sample in the team's probe set"
    )
    publish.add_argument("--comment", default="", help="note to the curator")
    publish.add_argument("--submit", action="store_true", help="go into review once the checks have passed")
    publish.add_argument("--no-wait", action="store_true", help="return after the upload, before the checks")
    add_server(publish)
    publish.set_defaults(run=_publish)
    version = commands.add_parser("version", help="print the version of this client")
    version.set_defaults(run=_version)
    return parser


def add_server(parser: argparse.ArgumentParser) -> None:
    """The options that say which server, and who asks."""
    parser.add_argument(
        "--url", default=os.environ.get("MODELSHOP_URL", DEFAULT_URL), help="server; default: MODELSHOP_URL, else %(default)s"
    )
    parser.add_argument("--token", default=os.environ.get("MODELSHOP_TOKEN", ""), help="API token; default: MODELSHOP_TOKEN")


def require_token(options: argparse.Namespace) -> None:
    """Raises BadUsage without one."""
    if not options.token:
        raise BadUsage("There is no API token.", fix="Make one under Settings > API tokens; pass it with --token or MODELSHOP_TOKEN.")


def say(text: str) -> None:
    """Progress, for a person who watches."""
    print(text, file=sys.stderr, flush=True)


def _version(options: argparse.Namespace) -> int:
    print(installed_version("modelshop"))
    return 0


def _publish(options: argparse.Namespace) -> int:
    require_token(options)
    for path in (*options.files, *options.reference):
        if not path.is_file():
            raise BadUsage(f"{path} is no file.", fix="Check the path.")
    spec, read_options = _json_file(options.spec), _json_object(options.reference_options, "--reference-options")
    with Client(options.url, options.token) as client:
        name = options.name or f"{client.personal_team()}/{_slug(options.files[0].stem)}"
        if not _NAME.fullmatch(name):
            raise BadUsage(
                f"{name!r} is no name of a model.",
                detail="Expected team/name, of letters, digits, hyphens and underscores.",
                fix="Pass --name team/name.",
            )
        what = Publication(
            name=name,
            files=options.files,
            spec=spec,
            reference=options.reference,
            reference_options=read_options,
            probes=options.probes,
            title=options.title,
            task=options.task,
            licence=options.licence,
            comment=options.comment,
            submit=options.submit,
        )
        made = client.publish(what, progress=_progress)
        print(f"{name} version {made['number']}: {client.url}{made['url']}")
        if options.no_wait:
            return 0
        ended = client.wait(name, made["number"], seen=_Follow())
        print(_ended(ended))
    return 0


def _ended(version: dict[str, Any]) -> str:
    outcome = {
        "in_review": "Checked, waiting for review.",
        "published": "Published.",
        "ready": "Checked. Send it into review on its page, or pass --submit.",
    }
    facts = f"{version['architecture'] or 'model'}, {version['parameters']:,} parameters, {version['latency_ms']:.3g} ms per sample"
    return f"{outcome.get(version['state'], version['state'])} {facts}"


class _Follow:
    """Prints each new text of the check's progress once."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, version: dict[str, Any]) -> None:
        job = version["job"]
        text = (job["text"] or job["state"]) if job else ""
        if text and text != self._last:
            self._last = text
            print(f"  {text}", file=sys.stderr, flush=True)


def _progress(name: str, sent: int, size: int) -> None:
    """One line per file, rewritten on a terminal; elsewhere only its end."""
    share = 100 if not size else 100 * sent // size
    if sys.stderr.isatty():
        print(f"\r  {name} {share:3d} %", end="\n" if sent == size else "", file=sys.stderr, flush=True)
    elif sent == size:
        print(f"  {name} uploaded, {size:,} bytes", file=sys.stderr, flush=True)


def _json_file(path: Path) -> dict[str, Any]:
    try:
        return _json_object(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise BadUsage(f"{path} cannot be read.", detail=str(error), fix="Check the path; the file must be UTF-8.") from error


def _json_object(text: str, where: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadUsage(f"{where} is not JSON.", detail=str(error), fix="Correct it and run the command again.") from error
    if not isinstance(document, dict):
        raise BadUsage(f"{where} is not a JSON object.", fix="It must start with {.")
    return document


def _slug(stem: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-") or "model"


def _tell(error: ClientError) -> None:
    print(f"error: {error.title}", file=sys.stderr)
    for line in (error.detail, error.fix):
        if line:
            print(f"  {line}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
