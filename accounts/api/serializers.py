"""JSON of people, teams and tokens."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from accounts.forms import LIFETIMES, scope_choices
from accounts.models import ApiToken, Membership, Role, Team, User
from accounts.services import email_is_taken


class MeSerializer(serializers.ModelSerializer[User]):
    class Meta:
        model = User
        fields = ["id", "username", "first_name", "last_name", "email", "shortcuts", "is_staff"]
        read_only_fields = ["id", "username", "is_staff"]

    def validate_email(self, email: str) -> str:
        if self.instance is not None and email_is_taken(email=email, user=self.instance):
            raise serializers.ValidationError("Another account uses this e-mail.")
        return email


class MemberSerializer(serializers.ModelSerializer[Membership]):
    username = serializers.CharField(source="user.username", read_only=True)

    class Meta:
        model = Membership
        fields = ["username", "role", "created"]
        read_only_fields = ["username", "created"]


class TeamSerializer(serializers.ModelSerializer[Team]):
    personal = serializers.SerializerMethodField()

    class Meta:
        model = Team
        fields = ["slug", "name", "personal", "created"]
        read_only_fields = ["created"]

    def get_personal(self, team: Team) -> bool:
        return team.personal_of_id is not None


class TeamDetailSerializer(TeamSerializer):
    members = MemberSerializer(source="memberships", many=True, read_only=True)

    class Meta(TeamSerializer.Meta):
        fields = [*TeamSerializer.Meta.fields, "members"]


class RoleSerializer(serializers.Serializer[Membership]):
    role = serializers.ChoiceField(choices=Role.choices)


class TokenSerializer(serializers.ModelSerializer[ApiToken]):
    class Meta:
        model = ApiToken
        fields = ["id", "name", "hint", "scopes", "created", "expires", "last_used"]
        read_only_fields = fields


class TokenMadeSerializer(TokenSerializer):
    """Only in the answer that makes the token; its text cannot be had again."""

    token = serializers.CharField(read_only=True)

    class Meta(TokenSerializer.Meta):
        fields = [*TokenSerializer.Meta.fields, "token"]
        read_only_fields = fields


class TokenCreateSerializer(serializers.Serializer[ApiToken]):
    """expires_days: 7, 30, 90 or 365."""

    name = serializers.CharField(max_length=80)
    scopes = serializers.ListField(child=serializers.CharField(), allow_empty=False)
    expires_days = serializers.ChoiceField(choices=[int(days) for days in LIFETIMES])

    def validate_scopes(self, scopes: list[str]) -> list[str]:
        request: Any = self.context["request"]
        allowed = [value for value, _ in scope_choices(request.user)]
        unknown = sorted(set(scopes) - set(allowed))
        if unknown:
            raise serializers.ValidationError(f"Unknown here: {', '.join(unknown)}. Choose from {', '.join(allowed)}.")
        return sorted(set(scopes))
