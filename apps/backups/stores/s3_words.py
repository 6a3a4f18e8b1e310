"""What an S3 client's error means to a person: which of the things that can be wrong it is, and what to do."""

from typing import Any

from apps.backups.facts import StoreTrouble

# S3's error codes, several per meaning because stores differ; the sentence takes {bucket} and {endpoint}.
_CODES: dict[str, tuple[tuple[str, ...], str, bool]] = {
    "wrong-key": (
        ("InvalidAccessKeyId", "UnrecognizedClientException", "InvalidClientTokenId"),
        "{endpoint} does not know this access key. Copy the key again, or make a new one there.",
        True,
    ),
    "wrong-secret": (
        ("SignatureDoesNotMatch",),
        (
            "The secret key does not belong to the access key. Copy the secret again: it is shown only "
            "once when a key is made."
        ),
        True,
    ),
    "expired-key": (
        ("ExpiredToken", "TokenRefreshRequired"),
        "This access key has expired. Make a lasting one for Mainstay.",
        True,
    ),
    "no-bucket": (
        ("NoSuchBucket",),
        "There is no bucket called {bucket} at {endpoint}. Make it there, or correct the name.",
        True,
    ),
    "bad-bucket": (
        ("InvalidBucketName",),
        "“{bucket}” cannot be the name of a bucket. Correct it.",
        True,
    ),
    "region": (
        ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301", "307"),
        "The bucket {bucket} lies in another region than the one given. Correct the region.",
        True,
    ),
    "clock": (
        ("RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"),
        (
            "The clocks of this machine and of {endpoint} differ too much, so every request is refused. "
            "Set this machine's clock right (turn on time synchronisation)."
        ),
        False,
    ),
    "full": (
        ("EntityTooLarge", "QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "507"),
        (
            "The store is full or its quota is used up. The unfinished backup was removed; earlier ones are untouched. "
            "Free space there or raise the quota."
        ),
        False,
    ),
    "corrupted": (
        ("BadDigest", "XAmzContentSHA256Mismatch", "InvalidDigest", "XAmzContentChecksumMismatch", "IncompleteBody"),
        "Bytes changed on their way to the store, and it refused them. Nothing wrong was kept. Try again.",
        False,
    ),
    "locked": (
        ("ObjectLocked", "InvalidRetentionPeriod"),
        "The object is locked until its retention ends, and nobody can delete it before. Nothing was changed.",
        True,
    ),
    "lost": (
        ("NoSuchKey", "NoSuchVersion", "404", "NotFound"),
        "The object is not in the bucket {bucket} any more. Other backups are untouched. Find out who removed it.",
        True,
    ),
    "upload-gone": (
        ("NoSuchUpload",),
        (
            "The unfinished upload vanished from the bucket {bucket} while it was sent. Nothing incomplete was kept. "
            "Look whether somebody empties the bucket or a lifecycle rule aborts uploads too early."
        ),
        False,
    ),
    "busy": (
        ("SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "Throttling", "503", "500", "502", "504"),
        "{endpoint} could not do it just now. If that lasts, look at the store itself: its load, its disks, its log.",
        False,
    ),
}
_BY_CODE = {code: meaning for meaning, (codes, _said, _permanent) in _CODES.items() for code in codes}
DENIED = frozenset({"AccessDenied", "403", "Forbidden", "AllAccessDisabled", "MethodNotAllowed", "UnauthorizedAccess"})


def code_of(error: Exception) -> str:
    """Return S3's own code of a client error ("" for any other error)."""
    response: Any = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def explained(error: Exception, *, endpoint: str, bucket: str, doing: str) -> StoreTrouble:
    """Return the trouble that a boto3 error means. `doing` completes "The key has no right to …"."""
    from botocore import exceptions as boto  # noqa: PLC0415 importing botocore costs 30 MB: only in processes that use S3

    code = code_of(error)
    where = {"endpoint": endpoint, "bucket": bucket}
    if code in _BY_CODE:
        meaning = _BY_CODE[code]
        said, permanent = _CODES[meaning][1], _CODES[meaning][2]
        return StoreTrouble(said.format(**where), code=meaning, permanent=permanent)
    if code in DENIED:
        return StoreTrouble(
            f"The access key has no right to {doing} in the bucket {bucket}. Give it that right "
            "there, or use another key.",
            code="no-right",
        )
    if isinstance(error, boto.ParamValidationError):
        return StoreTrouble(_CODES["bad-bucket"][1].format(**where), code="bad-bucket")
    if isinstance(error, boto.SSLError):
        return StoreTrouble(f"{endpoint}: {_tls(str(error))} Nothing was sent.", code="tls")
    if isinstance(error, boto.ConnectTimeoutError | boto.EndpointConnectionError | boto.ProxyConnectionError):
        return StoreTrouble(
            f"{endpoint} cannot be reached: {_network(str(error))}. Check the address, the port and the firewall.",
            code="unreachable",
            permanent=False,
        )
    if isinstance(error, boto.HTTPClientError | boto.ReadTimeoutError | boto.ConnectionError):
        return StoreTrouble(
            f"The connection to {endpoint} broke or went silent. Nothing incomplete was kept. If it repeats, look at "
            "the network in between and at the store.",
            code="connection",
            permanent=False,
        )
    if isinstance(error, boto.ClientError) and code and not code.isdigit():
        return StoreTrouble(
            f"{endpoint} refused to {doing}: {code}. Look the code up in its documentation.", code="refused"
        )
    return not_s3(endpoint)


def not_s3(endpoint: str, status: str = "") -> StoreTrouble:
    """Return the trouble that something answers and is no S3 store; `status` is the HTTP status, where one is known."""
    if status in {"502", "503", "504"}:
        return StoreTrouble(
            f"What answers at {endpoint} is not an S3 store but something in front of one: it answered {status}. "
            "Nothing was kept there. See that the store behind it runs, then test again.",
            code="not-s3",
            permanent=False,
        )
    answered = f" (it answered {status})" if status else ""
    return StoreTrouble(
        f"What answers at {endpoint} is not an S3 store{answered}. Nothing was kept there. Write the address and port "
        "of the store's S3 endpoint, not those of a website or of its web console.",
        code="not-s3",
    )


def _tls(text: str) -> str:
    for sign, said in (
        ("self-signed", "its certificate is self-signed, so it is not trusted. Use one of a known authority."),
        ("self signed", "its certificate is self-signed, so it is not trusted. Use one of a known authority."),
        ("expired", "its certificate has expired. Renew it there."),
        ("Hostname mismatch", "its certificate is for another name. Correct the address or the certificate."),
        ("IP address mismatch", "its certificate is for another name. Use the name in the certificate."),
        ("unable to get local issuer", "its certificate comes from an authority that this machine does not know."),
        ("WRONG_VERSION_NUMBER", "the server does not speak TLS on this port. Use http:// or another port."),
        ("CERTIFICATE_VERIFY_FAILED", "its certificate is not trusted."),
    ):
        if sign in text:
            return said
    return "TLS could not be agreed on. Check the port and the server's TLS settings."


def _network(text: str) -> str:
    # botocore folds look-up, refusal and time-out into one error and keeps only the text apart.
    if "resolve" in text or "Name or service" in text or "getaddrinfo" in text:
        return "its name has no address"
    if "timed out" in text or "timeout" in text.lower():
        return "no answer in time"
    return "nothing listens there, or the way is closed"
