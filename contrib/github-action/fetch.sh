#!/bin/sh
# Prints the path of the caponier to use: the one that $CAPONIER_URL leads to, if its SHA-256 is $CAPONIER_SHA256, put into
# $CAPONIER_DIR.bin; without an address the one in PATH.
set -eu

URL=${CAPONIER_URL-}
DIGEST=${CAPONIER_SHA256-}
BYTES_MAX=268435456

fail() {
  echo "caponier: $*" >&2
  exit 1
}

if [ -z "$URL" ]; then
  command -v caponier || fail "there is no caponier in PATH: say caponier-url and caponier-sha256"
  exit 0
fi

case $URL in
  https://*) protocol='=https' ;;
  http://127.0.0.1:*) protocol='=http' ;; # for tests on one machine
  *) fail "caponier-url is not an https address" ;;
esac
case $DIGEST in
  *[!0-9a-f]* | '') fail "caponier-sha256 is not 64 hexadecimal digits (0-9, a-f)" ;;
esac
[ ${#DIGEST} -eq 64 ] || fail "caponier-sha256 is not 64 hexadecimal digits (0-9, a-f)"

umask 077
bin=$CAPONIER_DIR.bin
mkdir "$bin"
if command -v curl >/dev/null; then
  curl -fsSL --proto "$protocol" --proto-redir "$protocol" --max-filesize "$BYTES_MAX" --max-time 300 --retry 2 \
    -o "$bin/fetched" -- "$URL" || fail "caponier cannot be fetched from $URL"
else
  wget -q -T 60 -O "$bin/fetched" -- "$URL" || fail "caponier cannot be fetched from $URL"
fi
if command -v sha256sum >/dev/null; then
  found=$(sha256sum <"$bin/fetched")
else
  found=$(shasum -a 256 <"$bin/fetched")
fi
found=${found%% *}
if [ "$found" != "$DIGEST" ]; then
  rm -f "$bin/fetched"
  fail "what came from $URL has the SHA-256 $found, not $DIGEST: it was not run"
fi
chmod 700 "$bin/fetched"
mv "$bin/fetched" "$bin/caponier"
echo "$bin/caponier"
