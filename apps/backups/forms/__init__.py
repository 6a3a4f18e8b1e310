"""The forms of the backups room: what was typed becomes what services take, or one clear sentence a field."""

from apps.backups.forms.plan import PlanForm
from apps.backups.forms.restore import RestoreForm
from apps.backups.forms.source import SourceForm
from apps.backups.forms.store import StoreForm

__all__ = ["PlanForm", "RestoreForm", "SourceForm", "StoreForm"]
