#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks an output of Render with other people's code only: securesystemslib for DSSE and in-toto's
encoding, cryptography for Ed25519, hashlib for the digest. Nothing of this repository is used.

    verify_attestation.py FILE ENVELOPE JWKS      (paths; '-' is not supported)

Exit codes: 0 it holds; 1 it does not (one line on stderr says why); 2 usage, or a file cannot be read.
Needs: pip install securesystemslib cryptography   (blake3 is optional: its digest is checked too when
it can be imported).
"""
import base64
import hashlib
import json
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey


class Refused(Exception):
    """The attestation does not hold."""


def unbase64url(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def thumbprint(jwk):
    """RFC 7638."""
    members = {name: jwk[name] for name in ("crv", "kty", "x")}
    text = json.dumps(members, sort_keys=True, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(hashlib.sha256(text).digest()).rstrip(b"=").decode()


def load_keys(jwks):
    keys = []
    for jwk in jwks["keys"]:
        if jwk.get("kty") != "OKP" or jwk.get("crv") != "Ed25519":
            continue
        keyid = thumbprint(jwk)
        if jwk.get("kid") != keyid:
            raise Refused(f"the kid {jwk.get('kid')} is not the key's RFC 7638 thumbprint {keyid}")
        raw = unbase64url(jwk["x"])
        keys.append((SSlibKey(keyid, "ed25519", "ed25519", {"public": raw.hex()}),
                     Ed25519PublicKey.from_public_bytes(raw)))
    if not keys:
        raise Refused("the JWKS has no Ed25519 key")
    return keys


def verified_payload(envelope_json, keys):
    """The payload, once both libraries have accepted its signature by a known key."""
    if not envelope_json.get("signatures"):
        raise Refused("the envelope is not signed")
    envelope = Envelope.from_dict(json.loads(json.dumps(envelope_json)))
    try:
        envelope.verify([key for key, _ in keys], 1)
    except VerificationError as error:
        raise Refused(f"securesystemslib: {error}") from error
    pae = b"DSSEv1 %d %s %d %s" % (len(envelope.payload_type), envelope.payload_type.encode(),
                                   len(envelope.payload), envelope.payload)
    for entry in envelope_json["signatures"]:
        for _, key in keys:
            try:
                key.verify(base64.b64decode(entry["sig"]), pae)
                return envelope.payload, envelope.payload_type
            except InvalidSignature:
                continue
    raise Refused("cryptography: no signature verifies under a known key")


def check_statement(statement, content):
    if statement.get("_type") != "https://in-toto.io/Statement/v1":
        raise Refused("the payload is no in-toto Statement v1")
    if statement.get("predicateType") != "https://slsa.dev/provenance/v1":
        raise Refused("the predicate is no SLSA provenance v1")
    sha256 = hashlib.sha256(content).hexdigest()
    subjects = [s for s in statement["subject"] if s["digest"].get("sha256") == sha256]
    if not subjects:
        raise Refused("no subject has the file's SHA-256")
    try:
        from blake3 import blake3
    except ImportError:
        return
    expected = blake3(content).hexdigest()
    if all(s["digest"].get("blake3", expected) != expected for s in subjects):
        raise Refused("the subject's BLAKE3 is another")


def main(argv):
    if len(argv) != 4:
        print("usage: verify_attestation.py FILE ENVELOPE JWKS", file=sys.stderr)
        return 2
    try:
        with open(argv[1], "rb") as file:
            content = file.read()
        with open(argv[2], encoding="utf-8") as file:
            envelope_text = file.read()
        with open(argv[3], encoding="utf-8") as file:
            jwks_text = file.read()
    except OSError as error:
        print(f"verify_attestation: {error}", file=sys.stderr)
        return 2
    try:
        keys = load_keys(json.loads(jwks_text))
        payload, payload_type = verified_payload(json.loads(envelope_text), keys)
        if payload_type != "application/vnd.in-toto+json":
            raise Refused(f"the payload type is {payload_type}")
        check_statement(json.loads(payload), content)
    except Refused as error:
        print(f"verify_attestation: {error}", file=sys.stderr)
        return 1
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        print(f"verify_attestation: malformed: {error!r}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
