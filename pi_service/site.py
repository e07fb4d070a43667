"""A site: its feeder, the keys of its nodes, and its operators with their roles. Made once, read at every start.

    nodes.json        the symmetric keys of every house and of the meter, by epoch (0600)
    operators.toml    public keys and roles
    operators/*.pem   private keys of operators, to be handed to them and taken away from here (0600)
    smartphased.toml  the daemon's configuration

The demo makes its site by the same call as the field. Not here: certificates of the broker.
"""

from __future__ import annotations

import json
import os
import secrets
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from balancer.errors import SmartPhaseError
from balancer.feeder import Feeder
from balancer.feeder_folder import read_feeder
from pi_service.config import Config, load_config
from pi_service.seal import KEY_BYTES, METER, NodeKeys, OperatorKeys, Role

CONFIG_NAME = "smartphased.toml"


class SiteError(SmartPhaseError):
    """A site's folder that cannot be made or read: names the file and what to do."""


@dataclass(frozen=True, slots=True)
class Site:
    """What the daemon knows of its site."""

    feeder: Feeder
    nodes: tuple[NodeKeys, ...]
    operators: Mapping[str, OperatorKeys]


class _NodeEntry(msgspec.Struct, frozen=True):
    house: str
    epoch: int
    command: str
    telemetry: str


class _OperatorEntry(msgspec.Struct, frozen=True):
    name: str
    public_key: str
    roles: dict[str, Role]


class _Operators(msgspec.Struct, frozen=True):
    operator: list[_OperatorEntry] = []


def create_site(folder: Path, feeder_dir: Path, operators: Mapping[str, Role], config: str = "") -> Config:
    """Make a site for a feeder folder; returns its configuration. Existing keys and files are kept.

    `config` is TOML that smartphased.toml gets besides [site]. Raises SiteError, FeederFolderError.
    """
    feeder = read_feeder(feeder_dir)
    try:
        (folder / "operators").mkdir(parents=True, exist_ok=True)
        if not (folder / "nodes.json").exists():
            _write_secret(folder / "nodes.json", json.dumps([_new_node(name) for name in (*feeder.house_ids, METER)]))
        if not (folder / "operators.toml").exists():
            entries = [_new_operator(folder, name, role, feeder.feeder_id) for name, role in operators.items()]
            (folder / "operators.toml").write_text("\n".join(entries), encoding="utf-8")
        path = folder / CONFIG_NAME
        if config or not path.exists():
            path.write_text(f'[site]\ndir = "."\nfeeder = {json.dumps(str(feeder_dir.resolve()))}\ndata = "data"\n\n'
                            f"{config}", encoding="utf-8")
    except OSError as error:
        raise SiteError(f"{folder}: {error.strerror}; choose a folder that you may write") from error
    return load_config(path)


def load_site(config: Config) -> Site:
    """Read the site that a configuration names. Raises SiteError, KeyFault, FeederFolderError."""
    folder = Path(config.site.dir)
    feeder = read_feeder(Path(config.site.feeder))
    return Site(feeder, read_nodes(folder), _read_operators(folder))


def read_nodes(folder: Path) -> tuple[NodeKeys, ...]:
    """The nodes' keys. Raises SiteError, KeyFault."""
    path = folder / "nodes.json"
    try:
        entries = msgspec.json.decode(path.read_bytes(), type=list[_NodeEntry])
        return tuple(NodeKeys(e.house, e.epoch, bytes.fromhex(e.command), bytes.fromhex(e.telemetry)) for e in entries)
    except OSError as error:
        raise SiteError(f"{path}: {error.strerror}; make the site with `smartphase site init`") from error
    except (msgspec.DecodeError, ValueError) as error:
        raise SiteError(f"{path}: cannot be read ({error}); restore it from the backup") from error


def operator_key(folder: Path, operator: str) -> bytes:
    """The private key (PEM) of an operator, where it still lies in the site's folder. Raises SiteError."""
    path = folder / "operators" / f"{operator}.pem"
    try:
        return path.read_bytes()
    except OSError as error:
        raise SiteError(f"{path}: {error.strerror}; name an operator whose key is there, or give the key") from error


def operator_role(folder: Path, operator: str, feeder: str) -> Role | None:
    """The role of an operator on a feeder, None where there is none. Raises SiteError."""
    known = _read_operators(folder).get(operator)
    return known.role(feeder) if known else None


def _read_operators(folder: Path) -> dict[str, OperatorKeys]:
    path = folder / "operators.toml"
    try:
        listed = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _Operators)
    except OSError as error:
        raise SiteError(f"{path}: {error.strerror}; make the site with `smartphase site init`") from error
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise SiteError(f"{path}: {error}") from error
    return {e.name: OperatorKeys(e.name, e.public_key.encode(), e.roles) for e in listed.operator}


def _new_node(house: str) -> dict[str, object]:
    return {"house": house, "epoch": 1, "command": secrets.token_hex(KEY_BYTES),
            "telemetry": secrets.token_hex(KEY_BYTES)}


def _new_operator(folder: Path, name: str, role: Role, feeder: str) -> str:
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.PEM,
                                           serialization.PublicFormat.SubjectPublicKeyInfo)
    _write_secret(folder / "operators" / f"{name}.pem", private.decode())
    return (f'[[operator]]\nname = "{name}"\npublic_key = """\n{public.decode()}"""\n'
            f'[operator.roles]\n"{feeder}" = "{role}"\n')


def _write_secret(path: Path, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
