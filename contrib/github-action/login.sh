#!/bin/sh
# Signs the job in: caponier from fetch.sh, its options from $CAPONIER_* (server and pin are read by caponier itself).
set -eu

here=$(dirname "$0")
caponier=$(sh "$here/fetch.sh")

set -- ci login --dir "$CAPONIER_DIR"
if [ -n "${CAPONIER_PRINCIPALS-}" ]; then set -- "$@" --principals "$CAPONIER_PRINCIPALS"; fi
if [ -n "${CAPONIER_LIFE-}" ]; then set -- "$@" --life "$CAPONIER_LIFE"; fi
if [ -n "${CAPONIER_WAIT-}" ]; then set -- "$@" --wait "$CAPONIER_WAIT"; fi
if [ -n "${CAPONIER_ROLE-}" ]; then set -- "$@" --role "$CAPONIER_ROLE"; fi
if [ -n "${CAPONIER_REASON-}" ]; then set -- "$@" --reason "$CAPONIER_REASON"; fi
if [ -n "${CAPONIER_ISSUER-}" ]; then set -- "$@" --issuer "$CAPONIER_ISSUER"; fi
if [ -n "${CAPONIER_AUDIENCE-}" ]; then set -- "$@" --audience "$CAPONIER_AUDIENCE"; fi
if [ "${CAPONIER_DRY_RUN-}" = true ]; then set -- "$@" --dry-run; fi
set -f
for target in ${CAPONIER_TARGETS-}; do set -- "$@" --target "$target"; done
set +f

exec "$caponier" "$@"
