"""What can be wrong with a request to the catalog. All are shown with cause and next step."""

from __future__ import annotations

from gpuworker.core.errors import UserError


class NameTaken(UserError):
    """The team already has a model or alias of this name, perhaps among the deleted ones."""

    code = "name_taken"


class WrongState(UserError):
    """The version is not in a state that allows this."""

    code = "wrong_state"


class NotYours(UserError):
    """A person may not decide on this themselves."""

    code = "not_yours"


class BadPage(UserError):
    """A page address that this list did not make."""

    code = "bad_page"
