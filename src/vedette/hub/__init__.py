"""Drop-in names for people who come from torch.hub; ``hubconf.py`` at the repository's root offers the same."""
