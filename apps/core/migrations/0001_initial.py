"""The marks of the keys that were ever used here."""

import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    """Make the first table of core."""

    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="RingMark",
            fields=[
                ("key_id", models.CharField(max_length=80, primary_key=True, serialize=False)),
                ("check_value", models.CharField(max_length=64)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
            ],
        ),
    ]
