"""``python -m vedette`` and the ``vedette`` command."""

from vedette.cli.app import main

if __name__ == "__main__":
    raise SystemExit(main())
