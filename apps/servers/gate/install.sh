#!/bin/sh
# Lets Mainstay look after this server at the level @LEVEL@. As root, paste it whole, or save it and run `sh FILE`.
# It looks first and changes nothing when something lacks; run again, it brings what it made up to date.
# It makes the account `mainstay` (no password, one key, and that key starts one program and nothing else), the program
# /usr/local/lib/mainstay/gate (the long text below), /etc/mainstay, /var/lib/mainstay and /var/log/mainstay@AND_SUDO@.
# `mainstay-gate list` names every file that Mainstay has on this server; `mainstay-gate detach` removes them.
(
set -euf
umask 022
PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
export PATH LC_ALL
level=@LEVEL@ server=@SERVER@
key='@PUBLIC_KEY@'

say() { printf 'Mainstay: %s\n' "$*"; }
lacks=
lack() { say "$*"; lacks=yes; }
effective() { printf '%s\n' "$sshd" | sed -n "s/^$1 //p" | tr '\n' ' '; }
names() { # does one of sshd's patterns name mainstay?
  for pattern in $(effective "$1"); do case mainstay in ${pattern%%@*}) return 0 ;; esac; done
  return 1
}
lists() { [ -z "$(effective "$1")" ] || names "$1"; }

wants() { # a setting, the values with which mainstay reaches its gate
  has=$(printf '%s\n' "$sshd" | grep -Ei "^$1 ") || return 0
  printf '%s\n' "$has" | grep -Eiq " ($2)\$" ||
    lack "sshd holds '$(printf %.80s "$has")' against mainstay. Make an exception with 'Match User mainstay'. $again"
}

# What would sshd do with the account mainstay that comes from Mainstay's address?
ask_sshd() {
  again='Then reload sshd and run this again.'
  who='user=mainstay,host=@ADDRESS@,addr=@ADDRESS@,laddr=127.0.0.1,lport=22'
  if ! sshd=$(sshd -T -C "$who" 2>&1); then
    case $sshd in *"separation directory: /run/sshd"*) mkdir -p -m 0755 /run/sshd; sshd=$(sshd -T -C "$who" 2>&1) || : ;; esac
  fi
  case "$sshd" in *"pubkeyauthentication "*) ;; *)
    lack "sshd does not accept its own configuration ($(printf '%s' "$sshd" | tail -n 1)). Mend that first: sshd -t."
    return ;;
  esac
  lists allowusers || lack "sshd lets only these in (AllowUsers): $(effective allowusers)- add mainstay there. $again"
  lists allowgroups || lack "sshd lets only these groups in (AllowGroups): $(effective allowgroups)- add mainstay there. $again"
  ! names denyusers || lack "sshd refuses mainstay by DenyUsers. Take it out there. $again"
  ! names denygroups || lack "sshd refuses the group mainstay by DenyGroups. Take it out there. $again"
  case " $(effective authorizedkeysfile) " in *" .ssh/authorized_keys "* | *" %h/.ssh/authorized_keys "*) ;;
    *" /var/lib/mainstay/.ssh/authorized_keys "*) ;;
    *) lack "sshd would look for mainstay's key in $(effective authorizedkeysfile)only. Add these two lines at the end of" \
      "/etc/ssh/sshd_config: 'Match User mainstay' and 'AuthorizedKeysFile .ssh/authorized_keys'. $again" ;;
  esac
  wants pubkeyauthentication yes
  wants 'pubkeyaccepted[a-z]*' '.*ssh-ed25519.*'
  wants authenticationmethods 'any|publickey'
  wants forcecommand none
  wants chrootdirectory none
}

# --- 1. Look, and change nothing ---
[ "$(id -u)" = 0 ] || { say 'This needs root; nothing was changed. Become root first, for example with: sudo -i'; exit 1; }
for program in sshd ssh ssh-keygen useradd usermod install sha256sum mktemp; do
  command -v $program >/dev/null || lack "The program $program is missing here. Install it with this system's package manager."
done
/usr/bin/python3 -IS -c 'import json, sys; sys.exit(sys.version_info < (3, 7))' 2>/dev/null ||
  lack 'The gate needs Python 3.7 or newer as /usr/bin/python3. Install the package python3.'
version=$(ssh -V 2>&1 | sed -n 's/^OpenSSH_\([0-9]*\)\.\([0-9]*\).*/\1 * 100 + \2/p')
[ $((${version:-0})) -ge 801 ] ||
  lack "The gate checks signatures with ssh-keygen, which can do that since OpenSSH 8.1. This is $(ssh -V 2>&1 | head -n 1)."
for folder in /etc /usr/local /var/lib /var/log; do [ -w $folder ] || lack "$folder cannot be written (read-only?)."; done
if [ -e /etc/mainstay/server.json ]; then
  grep -q "$server" /etc/mainstay/server.json ||
    lack 'This server already obeys another Mainstay, or an earlier entry of this one. First run: mainstay-gate detach'
  [ -z "$(find /var/lib/mainstay/rollback -name plan.json 2>/dev/null)" ] ||
    lack 'A change of access waits to be confirmed. Run this again in 2 minutes.'
elif id mainstay >/dev/null 2>&1 || grep -q '^mainstay:' /etc/group; then
  lack 'There is an account or group called mainstay that this script did not make. Rename or remove it first.'
fi
if [ $level != observe ]; then
  for program in sudo visudo; do
    command -v $program >/dev/null || lack "The level $level needs $program. Install the package sudo, or choose the level observe."
  done
  grep -Eq '^[#@]includedir[[:space:]]+/etc/sudoers\.d' /etc/sudoers 2>/dev/null ||
    lack '/etc/sudoers does not read /etc/sudoers.d. Add the line "@includedir /etc/sudoers.d" with visudo.'
  visudo -cq >/dev/null 2>&1 || lack 'sudo does not accept its own configuration. Mend that first: visudo -c'
fi
if [ $level = manage ]; then
  grep -Eiq '^[[:space:]]*include[[:space:]]+"?/etc/ssh/sshd_config\.d/\*\.conf' /etc/ssh/sshd_config 2>/dev/null ||
    lack 'The level manage needs this as the first line of /etc/ssh/sshd_config: Include /etc/ssh/sshd_config.d/*.conf'
  [ -d /run/systemd/system ] ||
    lack 'The level manage needs systemd: its timer undoes a change of access that Mainstay could not confirm. Choose operate.'
fi
[ -n "$lacks" ] || ask_sshd
[ -z "$lacks" ] || { say 'Nothing was changed.'; exit 1; }

stage=$(mktemp -d)
done='It stopped halfway. Mend what is said above and run it again, or undo it with: /usr/local/lib/mainstay/gate detach'
trap 'rm -rf "$stage"; say "$done"' EXIT
cat >"$stage/gate" <<'MAINSTAY_END'
@GATE@
MAINSTAY_END
@PARTS@parts='@NAMES@'
printf '{"level": "%s", "server": "%s", "parts": {%s}}\n' "$level" "$server" '@DIGESTS@' >"$stage/server.json"
printf 'mainstay namespaces="mainstay-gate" %s\n' "$key" >"$stage/signers"
printf '%s %s mainstay\n' 'restrict,@FROM@command="/usr/local/lib/mainstay/gate"' "$key" >"$stage/authorized_keys"
printf 'mainstay ALL=(root) NOPASSWD: /usr/local/lib/mainstay/gate root\n' >"$stage/sudoers"
! grep -rqs requiretty /etc/sudoers /etc/sudoers.d || printf 'Defaults:mainstay !requiretty\n' >>"$stage/sudoers"
if ! (cd "$stage" && printf '%s  %s\n' @GATE_SHA256@ gate @SUMS@ | sha256sum -c >/dev/null 2>&1) ||
  ! { [ $level = observe ] || visudo -cqf "$stage/sudoers"; }; then
  done='The gate arrived damaged, or sudo does not accept its rule. Nothing was changed; copy the script again.'
  exit 1
fi

# --- 2. Make it. What lets Mainstay in comes last ---
put() { install -o root -g root -m "$1" "$stage/$2" "$3.new" && mv -f "$3.new" "$3"; }
id mainstay >/dev/null 2>&1 || useradd --system --user-group --home-dir /var/lib/mainstay --no-create-home mainstay
usermod --password '*' --shell /bin/sh --home /var/lib/mainstay --comment 'Mainstay, its gate only' mainstay
mkdir -p /usr/local/sbin
install -d -o root -g root -m 0755 /usr/local/lib/mainstay /etc/mainstay /var/lib/mainstay /var/lib/mainstay/.ssh /var/log/mainstay
log=/var/log/mainstay/gate.log
chattr -a $log 2>/dev/null || :
touch $log
chown root:mainstay $log
chmod 0620 $log
chattr +a $log 2>/dev/null || :
put 0755 gate /usr/local/lib/mainstay/gate
rm -f /usr/local/lib/mainstay/dump /usr/local/lib/mainstay/access
for part in $parts; do put 0644 "$part" "/usr/local/lib/mainstay/$part"; done
put 0644 server.json /etc/mainstay/server.json
[ $level = manage ] || /usr/local/lib/mainstay/gate release
ln -sf /usr/local/lib/mainstay/gate /usr/local/sbin/mainstay-gate
put 0644 signers /etc/mainstay/signers
if [ $level = observe ]; then
  rm -f /etc/sudoers.d/mainstay
else
  put 0440 sudoers /etc/sudoers.d/mainstay
  visudo -cq || { rm -f /etc/sudoers.d/mainstay; exit 1; }
fi
put 0644 authorized_keys /var/lib/mainstay/.ssh/authorized_keys
! command -v restorecon >/dev/null || restorecon -R /usr/local/lib/mainstay /etc/mainstay /var/lib/mainstay || :
ask_sshd
[ -z "$lacks" ] || exit 1
done="Done: the level is $level, and the gate's SHA-256 is @GATE_SHA256@@AND_PARTS@."
say 'Compare one of these host keys with what Mainstay shows:'
for file in $(effective hostkey); do [ ! -e "$file" ] || ssh-keygen -lf "$file"; done
)
