"""Sealed envelopes: JWE compact, "dir" + "A128CBC-HS256" (RFC 7516, RFC 7518 5.2). Pure; runs on both Pythons.

The tag is checked before anything is decrypted. The primitives (AES-CBC, HMAC-SHA-256, random bytes) come from
the `hal`, because each interpreter has its own. `typ` in the protected header keeps a command from being
replayed as an ack; `kid` names house, key epoch and direction.
"""

import binascii
import json


_MAX = 4096           # longest envelope, and longest header: a node has little memory, and JSON nests
_MAX_HEADER = 256


class NotAuthentic(Exception):
    """The envelope is not ours, was changed, or is not of the kind or key that was expected."""


def b64url(data):
    return binascii.b2a_base64(data).strip().replace(b"+", b"-").replace(b"/", b"_").rstrip(b"=")


def unb64url(text):
    """Decode. Raises ValueError for anything but the one canonical text of some bytes."""
    data = binascii.a2b_base64(text.replace(b"-", b"+").replace(b"_", b"/") + b"=" * (-len(text) % 4))
    if b64url(data) != text:
        raise ValueError("not canonical")
    return data


def header(kid, typ):
    """The protected header of an envelope, encoded. Make it once for each kid and typ."""
    return b64url(('{"alg":"dir","enc":"A128CBC-HS256","kid":"%s","typ":"%s"}' % (kid, typ)).encode())


def seal(hal, key, protected, plain):
    """Encrypt `plain` (bytes) with the 32-byte `key` under an encoded header; returns the compact form, bytes."""
    pad = 16 - len(plain) % 16
    iv = hal.random_bytes(16)
    cipher = hal.aes_cbc_encrypt(key[16:], iv, plain + bytes([pad]) * pad)
    return b".".join((protected, b"", b64url(iv), b64url(cipher), b64url(_tag(hal, key, protected, iv, cipher))))


def open_sealed(hal, key, kid, typ, compact):
    """Check and decrypt an envelope. Raises NotAuthentic, whatever is wrong with it."""
    parts = compact.split(b".", 5) if len(compact) <= _MAX else ()
    if len(parts) != 5 or parts[1] or len(parts[0]) > _MAX_HEADER:
        raise NotAuthentic("shape")
    try:
        head = json.loads(unb64url(parts[0]))
        iv, cipher, tag = unb64url(parts[2]), unb64url(parts[3]), unb64url(parts[4])
        expected = {"alg": "dir", "enc": "A128CBC-HS256", "kid": kid, "typ": typ}
        if head != expected:
            raise NotAuthentic("header")
    except (ValueError, TypeError):
        raise NotAuthentic("encoding")
    if len(iv) != 16 or not cipher or len(cipher) % 16:
        raise NotAuthentic("length")
    if not _same(tag, _tag(hal, key, parts[0], iv, cipher)):
        raise NotAuthentic("tag")
    plain = hal.aes_cbc_decrypt(key[16:], iv, cipher)
    pad = plain[-1]
    if not 1 <= pad <= 16 or plain[-pad:] != bytes([pad]) * pad:
        raise NotAuthentic("padding")
    return plain[:-pad]


def _tag(hal, key, protected, iv, cipher):
    bits = len(protected) * 8
    return hal.hmac_sha256(key[:16], protected + iv + cipher + bits.to_bytes(8, "big"))[:16]


def _same(one, other):
    """Compare without telling by the time taken where they differ."""
    if len(one) != len(other):
        return False
    difference = 0
    for a, b in zip(one, other):
        difference |= a ^ b
    return difference == 0
