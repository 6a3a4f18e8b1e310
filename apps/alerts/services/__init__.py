"""The verbs of incidents, which every room above may call; those of channels and of sending are modules beside it."""

from apps.alerts.services.incidents import (
    acknowledge,
    add_note,
    channel_key,
    channel_url,
    channels_link,
    claims,
    close,
    forget,
    is_proven,
    needs,
    open_causes,
    report,
    report_each,
    watch,
)

__all__ = [
    "acknowledge",
    "add_note",
    "channel_key",
    "channel_url",
    "channels_link",
    "claims",
    "close",
    "forget",
    "is_proven",
    "needs",
    "open_causes",
    "report",
    "report_each",
    "watch",
]
