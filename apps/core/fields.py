"""A text column whose value is sealed with the key ring and bound to its table, column and row id."""

from typing import Any

from django.db import models
from django.db.models.query_utils import DeferredAttribute

from apps.core.keys import seal, unseal


class Sealed(bytes):
    """A ciphertext as it lies in the database; opened only when the attribute is read."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Show nothing of the value in a log line or an error page."""
        return "<sealed>"


class _SealedAttribute(DeferredAttribute):
    """Opens the value on access, so that a list page never decrypts what it does not show."""

    def __get__(self, instance: models.Model | None, cls: type | None = None) -> Any:
        if instance is None:
            return self
        value = super().__get__(instance, cls)
        if isinstance(value, Sealed):
            field: Any = self.field  # always an EncryptedTextField, which the stubs cannot know
            return unseal(bytes(value), context=field.context(instance)).decode()
        return value

    def __set__(self, instance: models.Model, value: Any) -> None:
        """Be a data descriptor: otherwise the instance's own dictionary would answer first, with the ciphertext."""
        instance.__dict__[self.field.attname] = value


class EncryptedTextField(models.BinaryField):  # type: ignore[type-arg] # generic in the stubs only
    """Text that is sealed at rest. The row id must exist before the first save: use a UUID primary key made in Python.

    Filtering by the value is impossible on purpose. `context` is "table.column:row id".
    """

    descriptor_class = _SealedAttribute

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take BinaryField's arguments; never editable in a generic form."""
        kwargs.setdefault("editable", False)
        super().__init__(*args, **kwargs)

    def context(self, instance: models.Model) -> str:
        """Return what the ciphertext is bound to. Raises ValueError without a row id."""
        if instance.pk is None:
            raise ValueError("an encrypted field needs its row id before it is written")
        return f"{self.model._meta.db_table}.{self.column}:{instance.pk}"  # noqa: SLF001 Django's documented name

    def from_db_value(self, value: Any, *_: Any) -> Sealed | None:
        """Keep the ciphertext closed."""
        return None if value is None else Sealed(bytes(value))

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:  # noqa: ARG002, FBT001 Django's signature
        """Seal a new value; write an untouched one back as it was."""
        value = model_instance.__dict__.get(self.attname)
        if value is None or isinstance(value, Sealed):
            return value
        closed = Sealed(seal(str(value).encode(), context=self.context(model_instance)))
        model_instance.__dict__[self.attname] = closed
        return closed

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:  # noqa: FBT001 Django's
        """Let only ciphertext through: a plain value in a query is a programming error."""
        if value is not None and not isinstance(value, Sealed):
            raise TypeError("an encrypted field can only be written through its model")
        return super().get_db_prep_value(value, connection, prepared)

    def value_to_string(self, obj: models.Model) -> str:  # noqa: ARG002 Django's signature
        """Refuse serialisation: no export holds a secret."""
        raise TypeError("an encrypted field is never serialised")
