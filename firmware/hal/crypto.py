"""AES-CBC and HMAC-SHA-256 by whatever the interpreter has. A class to inherit from.

CPython: `cryptography` and `hmac`. MicroPython: `cryptolib`, and HMAC (RFC 2104) over `hashlib`.
"""

import os

try:
    import cryptolib

    import hashlib

    def _encrypt(key, iv, data):
        return cryptolib.aes(key, 2, iv).encrypt(data)

    def _decrypt(key, iv, data):
        return cryptolib.aes(key, 2, iv).decrypt(data)

    def _hmac(key, data):
        key = key + bytes(64 - len(key))
        inner = hashlib.sha256(bytes(b ^ 0x36 for b in key))
        inner.update(data)
        outer = hashlib.sha256(bytes(b ^ 0x5C for b in key))
        outer.update(inner.digest())
        return outer.digest()

except ImportError:
    import hmac

    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    def _encrypt(key, iv, data):
        return Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor().update(data)

    def _decrypt(key, iv, data):
        return Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor().update(data)

    def _hmac(key, data):
        return hmac.digest(key, data, "sha256")


class Crypto:
    """The primitives that `firmware.core.jwe` asks for. Keys are at most 64 bytes."""

    def aes_cbc_encrypt(self, key, iv, data):
        return _encrypt(key, iv, data)

    def aes_cbc_decrypt(self, key, iv, data):
        return _decrypt(key, iv, data)

    def hmac_sha256(self, key, data):
        return _hmac(key, data)

    def random_bytes(self, n):
        return os.urandom(n)
