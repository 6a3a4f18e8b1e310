"""The addresses of people and of sign-in. The library brings many more; only these exist, each with its guard."""

from allauth.account import views as account
from allauth.core.internal import ratelimit
from allauth.mfa.base import views as mfa
from allauth.mfa.recovery_codes import views as codes
from allauth.mfa.totp import views as totp
from allauth.mfa.webauthn import views as passkeys
from allauth.usersessions import views as sessions
from django.urls import URLPattern, path
from django.views.generic import RedirectView

from apps.people import doors, views
from apps.people.guard import public, require
from apps.people.sessions import device

own = require("people.self")
own_recent = require("people.self", recent=True)
slow = ratelimit.decorator(app="allauth.mfa", action="passkey_begin", limit_get=True)

urlpatterns: list[URLPattern] = [
    # without a sign-in
    path("signin/", public(account.LoginView.as_view(template_name="people/signin.html")), name="account_login"),
    path(
        "signin/second/",
        public(mfa.AuthenticateView.as_view(template_name="people/second.html")),
        name="mfa_authenticate",
    ),
    path("signin/passkey/", public(slow(passkeys.login_webauthn)), name="mfa_login_webauthn"),
    path("signin/link/", doors.link, name="people-link"),
    path("signin/link/<str:token>/", doors.link_open, name="people-link-open"),
    path("signout/", public(account.LogoutView.as_view(template_name="people/signout.html")), name="account_logout"),
    path("setup/", doors.set_up, name="people-set-up"),
    path("setup/<str:token>/", doors.set_up_open, name="people-set-up-open"),
    path("join/", doors.join, name="people-join"),
    path("join/<str:token>/", doors.join_open, name="people-join-open"),
    # is it still you
    path(
        "signin/confirm/",
        own(account.ReauthenticateView.as_view(template_name="people/confirm.html")),
        name="account_reauthenticate",
    ),
    path(
        "signin/confirm/code/",
        own(mfa.ReauthenticateView.as_view(template_name="people/confirm_code.html")),
        name="mfa_reauthenticate",
    ),
    path(
        "signin/confirm/passkey/",
        own(passkeys.ReauthenticateWebAuthnView.as_view(template_name="people/confirm_passkey.html")),
        name="mfa_reauthenticate_webauthn",
    ),
    # one's own profile and sign-in safety
    path("profile/", views.profile, name="profile"),
    path(
        "profile/password/",
        own(account.PasswordChangeView.as_view(template_name="people/password.html")),
        name="account_change_password",
    ),
    path(
        "profile/sessions/",
        own(
            sessions.ListUserSessionsView.as_view(
                template_name="people/sessions.html", extra_context={"device": device}
            )
        ),
        name="usersessions_list",
    ),
    path("profile/sessions/<int:session_id>/end/", views.end_session, name="people-session-end"),
    path("profile/signin/", own(mfa.IndexView.as_view(template_name="people/factors.html")), name="mfa_index"),
    path(
        "profile/signin/code/",
        own_recent(totp.ActivateTOTPView.as_view(template_name="people/totp_add.html")),
        name="mfa_activate_totp",
    ),
    path(
        "profile/signin/code/remove/",
        own_recent(totp.DeactivateTOTPView.as_view(template_name="people/totp_remove.html")),
        name="mfa_deactivate_totp",
    ),
    path(
        "profile/signin/recovery-codes/",
        own_recent(codes.ViewRecoveryCodesView.as_view(template_name="people/codes.html")),
        name="mfa_view_recovery_codes",
    ),
    path(
        "profile/signin/recovery-codes/new/",
        own_recent(codes.GenerateRecoveryCodesView.as_view(template_name="people/codes_new.html")),
        name="mfa_generate_recovery_codes",
    ),
    path("profile/signin/passkeys/", own(RedirectView.as_view(pattern_name="mfa_index")), name="mfa_list_webauthn"),
    path(
        "profile/signin/passkeys/add/",
        own_recent(passkeys.AddWebAuthnView.as_view(template_name="people/passkey_add.html")),
        name="mfa_add_webauthn",
    ),
    path(
        "profile/signin/passkeys/<int:pk>/remove/",
        own_recent(passkeys.RemoveWebAuthnView.as_view(template_name="people/passkey_remove.html")),
        name="mfa_remove_webauthn",
    ),
    # the team
    path("people/", views.team, name="people"),
    path("people/invite/", views.invite, name="people-invite"),
    path("people/invitations/<uuid:invitation_id>/withdraw/", views.withdraw, name="people-withdraw"),
    path("people/audit/", views.audit, name="audit"),
    path("people/<uuid:person_id>/", views.person, name="people-person"),
    path("people/<uuid:person_id>/role/", views.role, name="people-role"),
    path("people/<uuid:person_id>/leave/", views.leave, name="people-leave"),
]
