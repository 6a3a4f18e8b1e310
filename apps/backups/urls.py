"""The addresses of backups, plans, stores and restores."""

from django.urls import URLPattern, URLResolver, path

from apps.backups.views import backup, evidence, key, plan, planning, restore, store

urlpatterns: list[URLPattern | URLResolver] = [
    path("", plan.index, name="backups"),
    path("new", planning.new, name="backups-new"),
    path("preview", planning.preview, name="backups-preview"),
    path("check-source", planning.check_source, name="backups-check-source"),
    path("check-store", planning.check_store, name="backups-check-store"),
    path("checks/<uuid:test_id>", planning.checked, name="connection-test"),
    path("recovery-key", key.recovery_key, name="recovery-key"),
    path("stores/", store.index, name="stores"),
    path("stores/new", store.new, name="store-new"),
    path("stores/<uuid:store_id>", store.edit, name="store-edit"),
    path("stores/<uuid:store_id>/check", store.check, name="store-check"),
    path("stores/<uuid:store_id>/look", store.look, name="store-look"),
    path("stores/<uuid:store_id>/remove", store.remove, name="store-remove"),
    path("runs/<uuid:backup_id>", backup.page, name="backup"),
    path("runs/<uuid:backup_id>/stop", backup.stop, name="backup-stop"),
    path("runs/<uuid:backup_id>/test", backup.test, name="backup-test"),
    path("runs/<uuid:backup_id>/steps", backup.steps, name="backup-steps"),
    path("runs/<uuid:backup_id>/restore", restore.ask, name="backup-restore"),
    path("runs/<uuid:backup_id>/download", restore.download, name="backup-download"),
    path("restores/<uuid:restore_id>", restore.page, name="restore"),
    path("restores/<uuid:restore_id>/stop", restore.stop, name="restore-stop"),
    path("tests/<uuid:test_id>", evidence.page, name="restore-test"),
    path("tests/<uuid:test_id>/stop", evidence.stop, name="restore-test-stop"),
    path("<uuid:plan_id>", plan.page, name="plan"),
    path("<uuid:plan_id>/edit", planning.edit, name="plan-edit"),
    path("<uuid:plan_id>/progress", plan.progress, name="plan-progress"),
    path("<uuid:plan_id>/back-up", plan.back_up, name="plan-back-up"),
    path("<uuid:plan_id>/test", plan.test, name="plan-test"),
    path("<uuid:plan_id>/pause", plan.pause, name="plan-pause"),
    path("<uuid:plan_id>/resume", plan.resume, name="plan-resume"),
    path("<uuid:plan_id>/remove", plan.remove, name="plan-remove"),
]
