import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.models import OuterRef, Subquery

ROWS = ("features", "row_hashes", "row_labels")
OF_SAMPLES = models.Q(version=None)
WHOLE = models.Q(withdrawn=None, **{f"{name}__isnull": False for name in ROWS})
EMPTY = models.Q(**{f"{name}__isnull": True for name in ROWS})


def fill(apps, schema_editor):
    """Slices so far are of versions: their team and owner are those of the model."""
    slices = apps.get_model("catalog", "ProbeSlice").objects
    model = apps.get_model("catalog", "RegisteredModel").objects.filter(versions=OuterRef("version"))
    slices.update(team=Subquery(model.values("team")), owner=Subquery(model.values("owner")))


def drop(apps, schema_editor):
    """Labelled samples have no place in the tables of before; their files go with the next sweep."""
    apps.get_model("catalog", "ProbeSlice").objects.filter(version=None).delete()


class Migration(migrations.Migration):

    dependencies = [
        ("accounts", "0001_initial"),
        ("catalog", "0004_calibrations"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name="probeslice",
            name="samples",
            field=models.CharField(blank=True, default="", help_text="Without a version: digest of the sample set that the rows are of", max_length=64),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="probeslice",
            name="team",
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name="probe_slices", to="accounts.team"),
        ),
        migrations.AddField(
            model_name="probeslice",
            name="owner",
            field=models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name="+", to=settings.AUTH_USER_MODEL),
        ),
        migrations.AlterField(
            model_name="probeslice",
            name="version",
            field=models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name="probe_slice", to="catalog.modelversion"),
        ),
        migrations.RunPython(fill, drop),
        migrations.AlterField(
            model_name="probeslice",
            name="team",
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="probe_slices", to="accounts.team"),
        ),
        migrations.AlterField(
            model_name="probeslice",
            name="owner",
            field=models.ForeignKey(help_text="The model's owner, or who gave the labelled samples", on_delete=django.db.models.deletion.CASCADE, related_name="+", to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddConstraint(
            model_name="probeslice",
            constraint=models.CheckConstraint(
                condition=models.Q(version__isnull=False, samples="")
                | OF_SAMPLES & (models.Q(withdrawn__isnull=False, samples="") | models.Q(withdrawn=None) & ~models.Q(samples="")),
                name="slice_of_a_version_or_of_samples",
            ),
        ),
        migrations.AddConstraint(
            model_name="probeslice",
            constraint=models.CheckConstraint(
                condition=WHOLE | EMPTY & (models.Q(withdrawn__isnull=False) | OF_SAMPLES), name="slice_with_all_its_rows_or_none"
            ),
        ),
    ]
