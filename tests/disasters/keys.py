"""Disasters of keys: lost, replaced, beside the backup, on no paper."""

from apps.backups import services as backups
from apps.backups.engines.base import Target
from apps.backups.models import RecoveryKey
from apps.core.identity import identity_path, make_identity
from apps.core.keys import ring_path
from tests.disasters.registry import case
from tests.disasters.scene import Scene

HELD = "key ids of all backups against the keys held"


@case("D31-gone", "the key that opens the backups is gone", mechanism=HELD,
      cause="encrypted for a key that is not here", step="bring the age identity back")  # fmt: skip
def key_gone(scene: Scene) -> list[str]:
    made = scene.world()
    made.proven()
    path, aside = identity_path(), identity_path().with_name("aside")
    if scene.broken:
        path.rename(aside)
        scene.ends.callback(aside.rename, path)
    return scene.told(made)


@case("D31-other", "another key lies where the right one should be", mechanism=HELD,
      cause="encrypted for a key that is not here", step="printed recovery key")  # fmt: skip
def wrong_key(scene: Scene) -> list[str]:
    made = scene.world()
    made.proven()
    path, aside = identity_path(), identity_path().with_name("aside")
    if scene.broken:
        path.rename(aside)
        scene.ends.callback(aside.rename, path)
        scene.ends.callback(path.unlink)
        make_identity(path)
    return scene.told(made)


@case("D31-paper", "the recovery key is on no paper", mechanism="the recovery key is asked for until it is proven",
      cause="nobody has shown that the recovery key is kept outside", step="prints the recovery key")  # fmt: skip
def no_paper(scene: Scene) -> list[str]:
    made = scene.world()
    made.proven()
    if scene.broken:
        RecoveryKey.objects.all().delete()
    backups.watch(made.clock.on(minutes=2))
    return scene.told(made)


@case("D31-inside", "the keys are in the very folder that is backed up", mechanism="a backup never holds its own key",
      cause="key", step="choose|exclude")  # fmt: skip
def keys_in_the_backup(scene: Scene) -> list[str]:
    made = scene.world()
    made.proven()
    root = ring_path().parent if scene.broken else made.file.parent
    scene.refused(lambda: backups.check_source(Target("directory", {"path": str(root)}, {})))
    return scene.told(made)
