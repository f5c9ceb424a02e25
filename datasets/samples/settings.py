"""Reads settings from a JSON file, with defaults and environment overrides."""

import json
import os

DEFAULTS = {
    "host": "127.0.0.1",
    "port": 8080,
    "debug": False,
    "workers": 2,
    "log_level": "info",
}

LOG_LEVELS = ("debug", "info", "warning", "error")


class SettingsError(Exception):
    pass


def load_file(path):
    try:
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
    except FileNotFoundError:
        return {}
    except json.JSONDecodeError as error:
        raise SettingsError(f"{path}: {error}") from error
    if not isinstance(data, dict):
        raise SettingsError(f"{path}: expected an object")
    return data


def from_environment(prefix, environ=None):
    environ = os.environ if environ is None else environ
    found = {}
    for key in DEFAULTS:
        name = prefix + key.upper()
        if name in environ:
            found[key] = environ[name]
    return found


def convert(key, value):
    default = DEFAULTS[key]
    if isinstance(default, bool):
        if isinstance(value, bool):
            return value
        return str(value).lower() in ("1", "true", "yes", "on")
    if isinstance(default, int):
        try:
            return int(value)
        except ValueError as error:
            raise SettingsError(f"{key}: {value!r} is not a number") from error
    return str(value)


def check(settings):
    if not 0 < settings["port"] < 65536:
        raise SettingsError(f"port {settings['port']} is out of range")
    if settings["workers"] < 1:
        raise SettingsError("workers must be at least 1")
    if settings["log_level"] not in LOG_LEVELS:
        raise SettingsError(f"log_level must be one of {', '.join(LOG_LEVELS)}")


def load(path, prefix="APP_", environ=None):
    settings = dict(DEFAULTS)
    for layer in (load_file(path), from_environment(prefix, environ)):
        for key, value in layer.items():
            if key not in DEFAULTS:
                raise SettingsError(f"unknown setting {key}")
            settings[key] = convert(key, value)
    check(settings)
    return settings
