"""Certificates for tests, in the forms that people have them."""

from __future__ import annotations

import subprocess

import trustme
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key


def pkcs8(certificate: trustme.LeafCert) -> str:
    """The private key in the format that AWS wants."""
    return _key(certificate, PrivateFormat.PKCS8)


def pkcs1(certificate: trustme.LeafCert) -> str:
    """The private key in the older format of its algorithm."""
    return _key(certificate, PrivateFormat.TraditionalOpenSSL)


def _key(certificate: trustme.LeafCert, form: PrivateFormat) -> str:
    key = load_pem_private_key(certificate.private_key_pem.bytes(), None)
    return key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()


def encrypted(certificate: trustme.LeafCert, password: str, algorithm: str) -> str:
    """The private key, encrypted with `PBES1`, which AWS knows, or `PBES2`."""
    method = ["-v1", "PBE-SHA1-3DES"] if algorithm == "PBES1" else ["-v2", "aes-256-cbc"]
    command = ["openssl", "pkcs8", "-topk8", *method, "-passout", f"pass:{password}"]
    return subprocess.run(command, input=pkcs8(certificate), text=True, check=True, capture_output=True).stdout


def chain(certificate: trustme.LeafCert) -> str:
    """The certificate, and what leads to its authority."""
    return "".join(part.bytes().decode() for part in certificate.cert_chain_pems)
