import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("catalog", "0005_labelled_samples_as_probes"),
        ("search", "0004_plan"),
    ]

    operations = [
        migrations.AddField(
            model_name="confirmation",
            name="piece",
            field=models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name="+", to="catalog.probeslice"),
        ),
        migrations.AddField(
            model_name="confirmation",
            name="piece_rows",
            field=models.JSONField(blank=True, default=list),
        ),
    ]
