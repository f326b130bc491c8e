"""Forms of signing in, signing up and passwords: allauth's, in the words of this product. ACCOUNT_FORMS and MFA_FORMS name them."""

from __future__ import annotations

from typing import Any, ClassVar

from allauth.account import forms as allauth_forms
from allauth.mfa.base import forms as mfa_forms
from allauth.mfa.totp import forms as totp_forms
from django.utils.translation import gettext_lazy as _


class _OurWords:
    """Labels and help by field name; no placeholder, since it would only repeat the label."""

    labels: ClassVar[dict[str, Any]] = {}
    help_texts: ClassVar[dict[str, Any]] = {}
    fields: dict[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            field.label = self.labels.get(name, field.label)
            field.help_text = self.help_texts.get(name, field.help_text)
            field.widget.attrs.pop("placeholder", None)


class SignInForm(_OurWords, allauth_forms.LoginForm):  # type: ignore[misc]
    labels: ClassVar = {"login": _("Username or e-mail")}


class SignUpForm(_OurWords, allauth_forms.SignupForm):  # type: ignore[misc]
    labels: ClassVar = {"email": _("E-mail"), "password2": _("The same password again")}
    help_texts: ClassVar = {"email": _("For resetting your password. Nobody else sees it.")}


class ChangePasswordForm(_OurWords, allauth_forms.ChangePasswordForm):  # type: ignore[misc]
    labels: ClassVar = {"oldpassword": _("Current password"), "password1": _("New password"), "password2": _("The new password again")}


class SetPasswordForm(_OurWords, allauth_forms.SetPasswordForm):  # type: ignore[misc]
    labels: ClassVar = {"password2": _("The same password again")}


class ResetPasswordForm(_OurWords, allauth_forms.ResetPasswordForm):  # type: ignore[misc]
    labels: ClassVar = {"email": _("E-mail")}


class ResetPasswordKeyForm(_OurWords, allauth_forms.ResetPasswordKeyForm):  # type: ignore[misc]
    labels: ClassVar = {"password1": _("New password"), "password2": _("The new password again")}


class ReauthenticateForm(_OurWords, allauth_forms.ReauthenticateForm):  # type: ignore[misc]
    """Asked before what protects the account is changed."""


class SecondStepForm(_OurWords, mfa_forms.AuthenticateForm):  # type: ignore[misc]
    """Code of the app, or a recovery code."""


class SecondStepAgainForm(_OurWords, mfa_forms.ReauthenticateForm):  # type: ignore[misc]
    labels: ClassVar = {"code": _("Code of the authenticator app, or a recovery code")}


class ActivateAppForm(_OurWords, totp_forms.ActivateTOTPForm):  # type: ignore[misc]
    labels: ClassVar = {"code": _("Code that the app shows")}
