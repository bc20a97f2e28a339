"""Which version of callaudit runs."""

from importlib.metadata import PackageNotFoundError, version


def installed_version() -> str:
    try:
        return version("callaudit")
    except PackageNotFoundError:
        return "0+source"  # run from a checkout
