"""Every setting of Mainstay, read from the environment; each default works with no environment at all."""

import sys
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

from apps.core.environment import broker_socket, flag, mail_server, networks, secret, secret_file

BASE_DIR = Path(__file__).resolve().parent.parent
VERSION = "0.1.0"
TESTING = "pytest" in sys.modules

env = environ.Env()

# --- where Mainstay keeps its state ---------------------------------------------------------------
# Tests get a folder of their own for each process, whatever the environment says: they must never touch real data.
_data = mkdtemp(prefix="mainstay-test-") if TESTING else env.str("MAINSTAY_DATA", default=str(BASE_DIR / "data"))
MAINSTAY_DATA = Path(_data).absolute()
MAINSTAY_KEYS = Path(env.str("MAINSTAY_KEYS", default=str(MAINSTAY_DATA / "keys"))).absolute()
MAINSTAY_SCRATCH = env.str("MAINSTAY_SCRATCH", default="")  # where databases are restored; empty: jail.py's choice
MAINSTAY_URL = env.str("MAINSTAY_URL", default=f"http://localhost:{env.int('MAINSTAY_PORT', default=8000)}").rstrip("/")
MAINSTAY_SITE = env.str("MAINSTAY_SITE", default="")  # what the one who names this copy calls its failure domain
MAINSTAY_TRUSTED_PROXIES = networks(env.list("MAINSTAY_TRUSTED_PROXIES", default=[]))
MAINSTAY_ALLOW_PRIVATE = flag("MAINSTAY_ALLOW_PRIVATE", default=True)  # may channels and stores be inside this network

_url = urlsplit(MAINSTAY_URL)
if _url.scheme not in {"http", "https"} or not _url.hostname:
    raise ImproperlyConfigured("MAINSTAY_URL must be a whole address such as https://mainstay.example.com")

SECRET_KEY = secret("SECRET_KEY", default="") or secret_file(MAINSTAY_DATA / "keys" / "secret_key")
DEBUG = False
ALLOWED_HOSTS = [_url.hostname]
if TESTING or _url.hostname == "localhost":
    ALLOWED_HOSTS += ["localhost", "127.0.0.1", "testserver"]
SECURE = _url.scheme == "https"

# --- apps -----------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_htmx",
    "lucide",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "apps.core",
    "apps.people",
    "apps.alerts",
    "apps.servers",
    "apps.access",
    "apps.backups",
    "apps.overview",
]
MIDDLEWARE = [
    "apps.core.middleware.proxies",
    "apps.people.context.remember_request",
    "apps.core.middleware.security_headers",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "apps.people.sessions.SignedSessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "apps.people.context.track_seen",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.jinja2.Jinja2",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": False,
        "OPTIONS": {
            "environment": "apps.core.jinja.environment",
            "context_processors": ["apps.core.jinja.page_context"],
        },
    },
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates" / "signin"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

MAINSTAY_NAV = "config.nav.NAV"  # core draws the sidebar without knowing any room
MAINSTAY_MAY = "apps.people.roles.may"

# --- database, cache, broker ----------------------------------------------------------------------
DATABASE_URL = secret("DATABASE_URL", default="")
if DATABASE_URL:
    DATABASES = {"default": env.db_url_config(DATABASE_URL)}
    if DATABASES["default"]["ENGINE"] != "django.db.backends.postgresql":
        raise ImproperlyConfigured("DATABASE_URL must be a postgres:// address, or unset for the built-in database")
    DATABASES["default"].update(CONN_MAX_AGE=60, CONN_HEALTH_CHECKS=True)
else:
    DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(MAINSTAY_DATA / "mainstay.sqlite3"),
            "OPTIONS": {
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;",
            },
            "CONN_MAX_AGE": None,
            # A file, not memory: tests with several processes and connections need the real locking.
            "TEST": {"NAME": str(MAINSTAY_DATA / "test.sqlite3")},
        }
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = secret("REDIS_URL", default="")
BROKER_SOCKET = broker_socket(MAINSTAY_DATA)
CELERY_BROKER_URL = REDIS_URL or f"redis+socket://{BROKER_SOCKET}?virtual_host=0"
CELERY_TASK_IGNORE_RESULT = True
CELERY_RESULT_BACKEND = None
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_DEFAULT_QUEUE = "quick"
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TIMEZONE = "UTC"
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False  # whoever writes to the broker may ring, and nothing else
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False  # the row's lease decides, not the broker
CELERY_BEAT_SCHEDULE = {"tick": {"task": "tick", "schedule": 10.0, "options": {"expires": 9, "queue": "quick"}}}
# A dead broker must never hang a page: short socket time-outs and one try when publishing. The visibility time-out is
# longer than any run; a doubled delivery is harmless, because a run is claimed by its row.
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 6 * 3600,
    "unacked_restore_interval": 10,
    "unacked_restore_throttle": 1,
    "socket_connect_timeout": 2,
    "socket_timeout": 5,
    "retry_on_timeout": False,
    "max_retries": 0,  # else one publish to a dead broker sleeps and tries for six seconds
}
CELERY_TASK_PUBLISH_RETRY = False

CACHES: dict[str, dict[str, Any]] = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
if not TESTING:
    CACHES["default"] = {
        "BACKEND": "apps.core.cache.SoftRedisCache",
        "LOCATION": REDIS_URL or f"unix://{BROKER_SOCKET}?db=1",
        "OPTIONS": {"socket_connect_timeout": 1, "socket_timeout": 2},
    }
CACHES["attempts"] = {"BACKEND": "apps.people.limits.AttemptCache"}  # sign-in limits survive a dead broker

# --- sign-in ---------------------------------------------------------------------------------------
AUTH_USER_MODEL = "people.Person"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "apps.people.passwords.NotLikeTheName", "OPTIONS": {"user_attributes": ("name", "email")}},
    {"NAME": "apps.people.passwords.LongEnough", "OPTIONS": {"min_length": 10}},
    {"NAME": "apps.people.passwords.NotCommon"},
]
ADMIN_EMAIL = env.str("ADMIN_EMAIL", default="")
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
SESSION_COOKIE_AGE = 14 * 86400
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE
SESSION_COOKIE_NAME = "__Host-session" if SECURE else "mainstay-session"
CSRF_COOKIE_NAME = "__Host-csrf" if SECURE else "mainstay-csrf"
CSRF_TRUSTED_ORIGINS = [MAINSTAY_URL]
CSRF_COOKIE_HTTPONLY = True
ACCOUNT_ADAPTER = "apps.people.adapters.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_REAUTHENTICATION_TIMEOUT = 300
ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE = False  # the session that changes it stays, every other ends
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_RATE_LIMITS = {"login": "20/m/ip", "login_failed": "20/m/ip,5/300s/key", "reauthenticate": "10/m/user"}
ACCOUNT_PREVENT_ENUMERATION = True
MFA_ADAPTER = "apps.people.adapters.MFAAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = "Mainstay"
MFA_RECOVERY_CODES_SHOW_ONCE = True
MFA_FORMS = {
    "activate_totp": "apps.people.forms.AddTotpForm",
    "add_webauthn": "apps.people.forms.AddPasskeyForm",
    "login_webauthn": "apps.people.forms.LoginPasskeyForm",
    "authenticate_webauthn": "apps.people.forms.SecondPasskeyForm",
    "reauthenticate_webauthn": "apps.people.forms.ConfirmPasskeyForm",
}
MFA_RATE_LIMITS = {"webauthn_login": "20/m/ip", "passkey_begin": "40/m/ip"}
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = _url.hostname == "localhost"

# --- answers ---------------------------------------------------------------------------------------
SECURE_SSL_REDIRECT = False  # TLS ends in front of Mainstay; ./mainstay up refuses a public address without https
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if MAINSTAY_TRUSTED_PROXIES else None
SECURE_HSTS_SECONDS = 31536000 if SECURE else 0
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SILENCED_SYSTEM_CHECKS = [
    "security.W005",  # whether all other subdomains of this name have TLS is not Mainstay's to decide
    "security.W008",  # the proxy in front redirects; Mainstay itself is reached on loopback only
    "security.W021",  # as W005: a preload list binds the whole domain
]
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 500

# --- static files, language, time --------------------------------------------------------------------
STATIC_URL = "/static/"
STATIC_ROOT = MAINSTAY_DATA / "static"
STATICFILES_DIRS = [BASE_DIR / "static", *([MAINSTAY_DATA / "built"] if (MAINSTAY_DATA / "built").is_dir() else [])]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if TESTING
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = WHITENOISE_AUTOREFRESH = TESTING  # found when asked for, not listed for each test's client
LANGUAGE_CODE = "en"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"
MAINSTAY_TIME_ZONE = env.str("MAINSTAY_TIME_ZONE", default="UTC")

# --- the e-mail channel that the environment sets up; more are added on the page ----------------------
MAIL_SERVER = mail_server(secret("EMAIL_URL", default=""), to=ADMIN_EMAIL)

# --- logs: one line each, to the console; secrets never reach a log record ----------------------------
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        "apps": {"level": "INFO"},
        "config": {"level": "INFO"},
        "django.security.DisallowedHost": {"level": "ERROR"},
    },
}
