"""Disasters of people: nobody answers for it, the alarm does not arrive, the wrong host is restored over."""

import json
from typing import Any

from apps.alerts import services as alerts
from apps.alerts.models import Channel, Message
from apps.alerts.services import channels, sending
from apps.backups import services as backups
from apps.backups.models import Plan
from tests.alerts.conftest import mail_config
from tests.backups.factories import DAILY, World
from tests.disasters.registry import case
from tests.disasters.scene import Scene, newer
from tests.servers.smtp import BOUNCE, MailServer, mail_server


@case("D11-left", "the owner has left", mechanism="every plan has an active owner", cause="its owner .* has left",
      step="choose an owner")  # fmt: skip
def owner_left(scene: Scene) -> list[str]:
    made = scene.world()
    made.proven()
    made.owner.is_active = not scene.broken
    made.owner.save()
    return scene.told(made)


@case("D11-none", "nobody was ever named", mechanism="every plan has an active owner", cause="nobody owns it",
      step="choose an owner")  # fmt: skip
def no_owner(scene: Scene) -> list[str]:
    made = scene.world()
    made.proven()
    Plan.objects.filter(pk=made.plan.pk).update(owner=None if scene.broken else made.owner)
    return scene.told(made)


def _channel(made: World, server: MailServer, name: str) -> Channel:
    channel = Channel(name=name, kind="email", config=mail_config(server.port), created_at=made.now, target_at=made.now)
    channel.secret = json.dumps({"password": ""})
    channel.save(force_insert=True)
    return channel


def _send(made: World) -> None:
    for _ in range(8):
        for message in list(Message.objects.due(made.now)):
            sending.send(message_id=message.pk, worker="w", clock=made.clock)
        made.clock.on(minutes=1)


def _prove(made: World, channel: Channel) -> None:
    message = channels.drill(actor=made.owner, channel=channel, now=made.now)
    _send(made)
    token = sending.proof_link(message).rstrip("/").rsplit("/", 1)[-1]
    assert channels.prove(actor=made.owner, token=token, now=made.clock.on(minutes=1))


def _a_real_alarm(scene: Scene, made: World) -> list[str]:
    """Let a backup fail, be told and be mended, so that a channel has something to deliver; return what stays."""
    aside = made.file.rename(scene.folder / "aside")
    newer(made)
    made.judge()
    backups.watch(made.now)
    alerts.watch(made.now)
    _send(made)
    aside.rename(made.file)
    newer(made)
    made.judge()
    made.clock.on(hours=1)
    alerts.watch(made.now)
    _send(made)
    return scene.told(made) + [f"{one.title} {one.said} {one.verb}" for one in alerts.needs(made.now)]


@case("D02-bounce", "failure mails are rejected by the receiver (DMARC)", mechanism="receipts, dead letters, needs",
      needs="mail", cause="550 5.7.26", step="correct the channel")  # fmt: skip
def mail_rejected(scene: Scene) -> list[str]:
    made = scene.world()
    made.proven()
    server = scene.ends.enter_context(mail_server())
    _prove(made, _channel(made, server, f"Mail {scene.word}"))
    server.refuse_data = BOUNCE if scene.broken else ""
    return _a_real_alarm(scene, made)


@case("D02-silent", "the mail server takes every mail and none arrives", mechanism="a click proves a channel",
      needs="mail", cause="nobody has shown that .* reaches|no person has confirmed", step="send a test")  # fmt: skip
def mail_swallowed(scene: Scene) -> list[str]:
    made = scene.world()
    made.proven()
    server = scene.ends.enter_context(mail_server())
    channel = _channel(made, server, f"Mail {scene.word}")
    if scene.broken:
        channels.drill(actor=made.owner, channel=channel, now=made.now)
        _send(made)
    else:
        _prove(made, channel)
    return _a_real_alarm(scene, made)


@case("D02-nobody", "there is no channel at all", mechanism="needs of the first page", needs="mail",
      cause="nobody would be told", step="add a channel")  # fmt: skip
def no_channel(scene: Scene) -> list[str]:
    made = scene.world()
    made.proven()
    if not scene.broken:
        server = scene.ends.enter_context(mail_server())
        _prove(made, _channel(made, server, f"Mail {scene.word}"))
    return scene.told(made) + [f"{one.title} {one.said} {one.verb}" for one in alerts.needs(made.now)]


@case("D02-old", "the last proof of the channel is long ago", mechanism="a channel's proof has an age", needs="mail",
      cause="no person has confirmed .* within 90 days", step="send a test")  # fmt: skip
def old_proof(scene: Scene) -> list[str]:
    made = scene.world()
    server = scene.ends.enter_context(mail_server())
    channel = _channel(made, server, f"Mail {scene.word}")
    _prove(made, channel)
    made.clock.on(days=100 if scene.broken else 20)
    alerts.watch(made.now)
    made.clock.on(days=4)
    alerts.watch(made.now)
    Plan.objects.filter(pk=made.plan.pk).update(expected_from=made.now)
    made.proven()
    return scene.told(made)


def _restored(scene: Scene, made: World, path: Any) -> list[str]:
    run = made.restore(made.proven(), path)
    scene.say(run.error)
    return scene.told(made)


@case("D10-source", "a restore is pointed at the live database", mechanism="a restore refuses its own source",
      cause="that is the source itself", step="name a new, empty")  # fmt: skip
def restore_over_source(scene: Scene) -> list[str]:
    made = scene.world()
    before = made.file.read_bytes()
    heard = _restored(scene, made, made.file if scene.broken else scene.folder / "new.sqlite3")
    assert made.file.read_bytes() == before
    return heard


@case("D10-full", "a restore is pointed at a place that is taken", mechanism="a restore takes only an empty place",
      cause="exists already. it was not touched", step="name a path")  # fmt: skip
def restore_over_something(scene: Scene) -> list[str]:
    made = scene.world()
    place = scene.folder / "precious.sqlite3"
    if scene.broken:
        place.write_bytes(b"precious")
    heard = _restored(scene, made, place)
    assert not scene.broken or place.read_bytes() == b"precious"
    return heard


@case("slip", "a plan is removed by a slip of the hand", mechanism="the name is typed back",
      cause="type .* to remove this plan", step="nothing was changed")  # fmt: skip
def removed_by_mistake(scene: Scene) -> list[str]:
    made = scene.world()
    made.proven()
    spec = backups.PlanSpec(name=scene.word, source=made.source, store=made.store, owner=made.owner, schedule=DAILY)
    other = backups.plan(actor=made.owner, spec=spec, now=made.now)
    typed = "shop" if scene.broken else other.name
    scene.refused(lambda: backups.remove_plan(actor=made.owner, plan=other, typed=typed, now=made.now))
    return scene.told(made)
