"""The marks of the keys that were ever used here, and the heartbeat."""

import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    """Make the first tables of core."""

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
        migrations.CreateModel(
            name="Pulse",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField()),
            ],
        ),
    ]
