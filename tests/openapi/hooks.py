"""Hooks of schemathesis (SCHEMATHESIS_HOOKS): signs each request as the description says.

The environment says who asks: CAPONIER_AS is `nobody` (no signature), `stranger` (signed by a key that nobody knows), or
a word from which `tests/it/api/schemathesis.rs` derived the keys of people who are signed in; CAPONIER_KEYS is how many
there are. CAPONIER_TIME is the server's time in Unix seconds, which does not move; CAPONIER_AUTHORITY its host and port. CAPONIER_IDS
is a file with ids that exist, one a line, and CAPONIER_SEEN one that gets a line for each answer: METHOD PATH STATUS.
"""

import base64
import hashlib
import itertools
import os
import pathlib
import re
import secrets
import struct

import requests.auth
import schemathesis
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

AS = os.environ["CAPONIER_AS"]
KEYS = int(os.environ["CAPONIER_KEYS"])
TIME = os.environ["CAPONIER_TIME"]
AUTHORITY = os.environ["CAPONIER_AUTHORITY"]
IDS = pathlib.Path(os.environ["CAPONIER_IDS"]).read_text().split()
SEEN = pathlib.Path(os.environ["CAPONIER_SEEN"])
NAMESPACE = b"request@caponier"
CURSOR = r"[A-Za-z0-9_-]{1,256}"
PROVIDER = r"(?!None$)[A-Za-z0-9][A-Za-z0-9._-]{0,63}"

# Some operations end the sign-in of the key, so each request has another.
NUMBERS = itertools.count()


def field(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


class Key:
    """One Ed25519 key, derived from a word and a number."""

    def __init__(self, word: str, number: int) -> None:
        seed = hashlib.sha256(f"{word} {number}".encode()).digest()
        self.private = Ed25519PrivateKey.from_private_bytes(seed)
        public = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.blob = field(b"ssh-ed25519") + field(public)

    def sshsig(self, message: bytes) -> bytes:
        """PROTOCOL.sshsig of OpenSSH."""
        digest = hashlib.sha512(message).digest()
        signed = b"SSHSIG" + field(NAMESPACE) + field(b"") + field(b"sha512") + field(digest)
        signature = field(b"ssh-ed25519") + field(self.private.sign(signed))
        return (
            b"SSHSIG" + struct.pack(">I", 1) + field(self.blob) + field(NAMESPACE) + field(b"")
            + field(b"sha512") + field(signature)
        )  # fmt: skip


class Signed(requests.auth.AuthBase):
    """Signs what is about to be sent, byte for byte."""

    def __call__(self, request):
        body = request.body or b""
        if isinstance(body, str):
            body = body.encode()
        key = Key(AS, next(NUMBERS) % KEYS)
        nonce = secrets.token_urlsafe(32)
        digest = hashlib.sha256(body).hexdigest()
        lines = ["caponier-request-v1", request.method, AUTHORITY, request.path_url, TIME, nonce, digest]
        text = "".join(f"{line}\n" for line in lines).encode()
        request.headers["caponier-key"] = "ssh-ed25519 " + base64.b64encode(key.blob).decode()
        request.headers["caponier-time"] = TIME
        request.headers["caponier-nonce"] = nonce
        request.headers["caponier-signature"] = base64.b64encode(key.sshsig(text)).decode()
        return request


if AS != "nobody":
    schemathesis.auth.set_from_requests(Signed())


@schemathesis.hook
def before_call(context, case, kwargs):
    # The server trusts us as a proxy: what it counts by address is not the matter here, so each request has its own.
    case.headers = case.headers or {}
    # Ids drawn at random name nothing; every other one becomes one that does.
    drawn = str((case.path_parameters or {}).get("id", ""))
    known = [one for one in IDS if one[:4] == drawn[:4]]
    if known and len(drawn) == 30 and secrets.randbelow(2):
        case.path_parameters["id"] = IDS.pop(IDS.index(secrets.choice(known)))
    # Nor is any cursor: one that could be ours becomes none, which is the first page.
    query = case.query or {}
    if re.fullmatch(CURSOR, str(query.get("after", "!"))):
        del query["after"]
    case.headers["X-Forwarded-For"] = "10." + ".".join(str(secrets.randbelow(256)) for _ in range(3))
    # Which providers there are is in no description: a name that could be one becomes the one that is.
    if isinstance(case.body, dict) and re.fullmatch(PROVIDER, str(case.body.get("provider"))):
        case.body["provider"] = "corp"


@schemathesis.hook
def after_call(context, case, response):
    with SEEN.open("a") as seen:
        seen.write(f"{response.request.method} {case.operation.path} {response.status_code}\n")
