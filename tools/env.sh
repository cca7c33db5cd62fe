# shellcheck shell=bash
# Sourced by every script here: where things are, and which tools come first.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT" || exit 1

# Tools built from source are kept outside the clone, so that the next clone finds them.
TOOLS=${BOUNCER_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/bouncer/tools}
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
case $TARGET in /*) ;; *) TARGET=$ROOT/$TARGET ;; esac

export PATH="$TOOLS/bin:$TOOLS/node/node_modules/.bin:$PATH"
# Ordinary builds read the answers in .sqlx; only tools/sqlx asks a database.
export SQLX_OFFLINE=${SQLX_OFFLINE:-true}
# Debian reports "disabled" and similar words in the user's language otherwise.
export LC_ALL=${LC_ALL:-C.UTF-8}

say() { printf '\033[1m==>\033[0m %s\n' "$*" >&2; }
fail() { printf '\033[1;31merror:\033[0m %s\n' "$*" >&2; exit 1; }

# The directory that holds initdb, pg_ctl and postgres. Debian keeps it off PATH, one directory for each version.
postgres_bin() {
  local dir
  for dir in $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -t/ -k5,5nr); do
    [ -x "$dir/initdb" ] && { printf '%s\n' "$dir"; return 0; }
  done
  dir=$(command -v initdb 2>/dev/null) && { dirname "$(readlink -f "$dir")"; return 0; }
  return 1
}

# A browser for the tests, as Playwright should start it; nothing when there is none.
browser() {
  local name
  for name in chromium chromium-browser google-chrome-stable google-chrome; do
    # Ubuntu's chromium is a snap: it cannot read a profile below /tmp, so it is passed over.
    command -v "$name" >/dev/null 2>&1 && [ ! -d "/snap/$name" ] && { command -v "$name"; return 0; }
  done
  return 1
}
