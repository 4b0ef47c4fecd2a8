#!/bin/sh
# Ends the job's access, with the caponier that login.sh used; whatever login.sh came to.
set -eu

bin=$CAPONIER_DIR.bin
caponier=caponier
if [ -x "$bin/caponier" ]; then caponier=$bin/caponier; fi
status=0
if command -v "$caponier" >/dev/null; then
  "$caponier" ci "done" --dir "$CAPONIER_DIR" || status=$?
else
  echo "caponier: the login did not come as far as a caponier; nothing to end" >&2
fi
rm -rf "$bin"
exit "$status"
