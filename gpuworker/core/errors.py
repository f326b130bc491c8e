"""Errors of the core. Torch-free: the web process imports this module.

A `UserError` is shown to a person: what happened, where, and what to do next. Everything else is a defect of ours.
"""

from __future__ import annotations


class UserError(Exception):
    """Something a person can mend.

    title: one short sentence saying what happened.
    detail: which file, row or operator, expected and found.
    fix: what to do next.
    """

    code = "invalid"

    def __init__(self, title: str, *, detail: str = "", fix: str = "") -> None:
        super().__init__(title if not detail else f"{title} {detail}")
        self.title = title
        self.detail = detail
        self.fix = fix

    @property
    def text(self) -> str:
        """All of it on one line, each part a sentence."""
        parts = (part.rstrip() for part in (self.title, self.detail, self.fix) if part)
        return " ".join(part if part.endswith((".", "?", "!")) else f"{part}." for part in parts)


class FormatRefused(UserError):
    """The file is of a kind that is never opened (pickle, TorchScript ...)."""

    code = "format_refused"


class UnreadableModel(UserError):
    """The file is of an accepted kind but broken, truncated, over a cap, or lying about itself."""

    code = "unreadable_model"


class UnsupportedOperator(UnreadableModel):
    """The model needs an operator outside our op set; `detail` names it."""

    code = "unsupported_operator"


class SpecError(UserError):
    """The input spec or label space does not parse, or does not fit the model."""

    code = "bad_spec"


class TrialFailed(UserError):
    """The model ran on a trial batch and gave the wrong shape, NaN, or another number of labels."""

    code = "trial_failed"


class UnreadableSamples(UserError):
    """No sample of a set could be read; single bad files are reported, not raised."""

    code = "unreadable_samples"


class Incompatible(UserError):
    """Samples and model do not fit (modality, channels, columns, label space)."""

    code = "incompatible"


class LimitExceeded(UserError):
    """A cap on entries, bytes, memory, time or output was hit; `detail` says which and how much was allowed."""

    code = "limit_exceeded"


class ExecutionFailed(UserError):
    """A model failed while running on samples (NaN output, shape error, killed by its limits)."""

    code = "execution_failed"
