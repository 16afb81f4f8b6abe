"""Training: the main path in ``run.py``, one epoch in ``epoch.py``, what resume needs in ``state.py``."""
