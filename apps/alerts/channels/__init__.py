"""One adapter per kind of channel behind one small protocol; the explicit list of them."""

from apps.alerts.channels.base import Adapter
from apps.alerts.channels.email import Email
from apps.alerts.channels.slack import Slack
from apps.alerts.channels.webhook import Webhook

ADAPTERS: dict[str, type[Adapter]] = {"email": Email, "slack": Slack, "webhook": Webhook}
